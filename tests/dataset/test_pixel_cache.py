"""Decoded images in memory and in a file: found again, decoded anew where the picture changed, never in the way."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qatkit.dataset.batches import FrameImages
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout
from qatkit.dataset.pixel_cache import Cache, decoded_bytes
from qatkit.errors import DataError
from tests.support.frames import five_frames, frame_table, noise, write_image

LAYOUT = ImageLayout(16, 12, auto_resize=True)
IMAGE = 16 * 12 * 3


@pytest.fixture
def frames(tmp_path: Path) -> FrameTable:
    return five_frames(tmp_path / "images")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(file=tmp_path / "decoded" / "training")


def images(frames: FrameTable, cache: Cache, layout: ImageLayout = LAYOUT) -> list[np.ndarray]:
    """All images, by a new reader."""
    read = FrameImages(frames, layout, cache=cache)
    return [read(row) for row in range(len(frames))]


def overwrite(path: str, content: bytes) -> None:
    """Another content under the time of change that the file had."""
    before = os.stat(path)  # noqa: PTH116
    Path(path).write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def unreadable(frames: FrameTable) -> None:
    """Nothing can be decoded any more, though the files look as before."""
    for path in frames.image_paths:
        overwrite(path, b"x" * Path(path).stat().st_size)


def test_another_process_finds_what_one_decoded(frames: FrameTable, cache: Cache) -> None:
    before = images(frames, cache)
    unreadable(frames)
    for found, expected in zip(images(frames, cache), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_without_a_file_images_are_decoded_each_time(frames: FrameTable) -> None:
    images(frames, Cache())
    unreadable(frames)
    with pytest.raises(DataError):
        images(frames, Cache())


def test_memory_holds_what_fits(frames: FrameTable) -> None:
    read = FrameImages(frames, LAYOUT, cache=Cache(memory=2 * IMAGE))
    before = [read(row) for row in range(5)]
    unreadable(frames)
    for row in range(2):
        np.testing.assert_array_equal(read(row), before[row])
    with pytest.raises(DataError):
        read(2)


@pytest.mark.parametrize("touch", ["time", "size"])
def test_a_changed_picture_is_decoded_anew(frames: FrameTable, cache: Cache, touch: str) -> None:
    before = images(frames, cache)
    path = Path(frames.image_paths[1])
    facts = path.stat()
    write_image(path, noise(32, 24, seed=77) if touch == "time" else np.zeros((24, 32, 3), np.uint8))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + (touch == "time")))
    after = images(frames, cache)
    assert (after[1] != before[1]).any()
    np.testing.assert_array_equal(after[2], before[2])
    np.testing.assert_array_equal(images(frames, cache)[1], after[1])


@pytest.mark.parametrize("damage", ["pixels", "half"])
def test_a_damaged_file_is_not_believed(frames: FrameTable, cache: Cache, damage: str) -> None:
    before = images(frames, cache)
    (file,) = (cache.file or Path()).parent.iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content if damage == "pixels" else content[: len(content) // 2])
    for found, expected in zip(images(frames, cache), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_other_frames_or_another_layout_replace_the_file(frames: FrameTable, cache: Cache) -> None:
    images(frames, cache)
    folder = (cache.file or Path()).parent
    (first,) = folder.iterdir()
    images(frames, cache, replace(LAYOUT, width=8))
    (second,) = folder.iterdir()
    images(frames.subset([0, 1]), cache)
    (third,) = folder.iterdir()
    assert len({first.name, second.name, third.name}) == 3
    images(frames, Cache(file=folder / "validation"))
    assert len(list(folder.iterdir())) == 2


def test_canvases_of_different_sizes(tmp_path: Path, cache: Cache) -> None:
    sizes = [(40, 20), (20, 40)]
    paths = [write_image(tmp_path / f"{width}.png", noise(width, height)) for width, height in sizes]
    table = frame_table(paths, (0, 0), [[], []])
    table.sizes[:] = sizes
    layout = ImageLayout(32, 32)
    before = [FrameImages(table, layout, whole=True, cache=cache)(row) for row in range(2)]
    assert [image.shape for image in before] == [(32, 40, 3), (40, 32, 3)]
    assert decoded_bytes(table, layout, whole=True) == sum(image.nbytes for image in before)
    unreadable(table)
    for row, expected in enumerate(before):
        np.testing.assert_array_equal(FrameImages(table, layout, whole=True, cache=cache)(row), expected)


def test_a_full_disk_is_said_once_and_survived(
    frames: FrameTable, cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert len(images(frames, cache)) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot keep decoded images here: No space left on device; they are decoded each time" in line


def test_where_no_file_can_be(frames: FrameTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert len(images(frames, Cache(file=tmp_path / "taken" / "training"))) == 5
    assert "cannot keep decoded images here" in capsys.readouterr().err
