from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qatkit.dataset.tensorfile import open_tensorfile, write_tensorfile
from qatkit.errors import DataError, EnvironmentProblem

KEY = "_tensorfile_array_key_"
SHAPE = (2, 3, 4, 3)  # two images of 4x3


def batches(count: int, shape: tuple[int, ...] = SHAPE) -> list[NDArray[np.float32]]:
    return list(np.random.default_rng(0).random((count, *shape), np.float32))


def by_hand(path: Path, arrays: list[NDArray[np.floating]], count: object = None) -> Path:
    """A file with TAO's layout, from arrays as they are to stand in it."""
    with h5py.File(path, "w") as file:
        file.attrs["count"] = len(arrays) if count is None else count
        for number, array in enumerate(arrays):
            file.create_group(f"{KEY}_{number}")[KEY] = array
    return path


def test_no_batches(tmp_path: Path) -> None:
    assert write_tensorfile(tmp_path / "a", []) == 0
    with pytest.raises(DataError, match="a: holds no batches"):
        open_tensorfile(tmp_path / "a")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = batches(3)
    assert write_tensorfile(tmp_path / "a", written) == 3
    file = open_tensorfile(tmp_path / "a")
    assert (file.image_shape, file.batch_sizes, len(file)) == ((3, 4, 3), (2, 2, 2), 6)
    images = list(file)
    assert {(image.shape, image.dtype.name) for image in images} == {((1, 3, 4, 3), "float32")}
    np.testing.assert_array_equal(np.concatenate(images), np.concatenate(written))


def test_layout_is_that_of_tao(tmp_path: Path) -> None:
    written = batches(2)
    write_tensorfile(tmp_path / "a", written)
    with h5py.File(tmp_path / "a") as file:
        assert (int(file.attrs["count"]), file.attrs["shape"].tolist()) == (2, [2, 3, 3, 4])
        assert list(file) == [f"{KEY}_0", f"{KEY}_1"]
        dataset = file[f"{KEY}_1"][KEY]
        assert (list(file[f"{KEY}_1"]), dataset.dtype, dataset.compression) == ([KEY], np.float32, "gzip")
        np.testing.assert_array_equal(dataset[()], written[1].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_files_of_others(tmp_path: Path, kind: type) -> None:
    """Batches of any size, and other types of numbers."""
    first, second = np.full((1, 1, 3, 4), 0.5, kind), np.full((4, 1, 3, 4), 0.25, kind)
    file = open_tensorfile(by_hand(tmp_path / "a", [first, second]))
    assert (file.image_shape, file.batch_sizes) == ((3, 4, 1), (1, 4))
    assert [float(image.mean()) for image in file] == [0.5, 0.25, 0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    "arrays, count, message",
    [
        ([], "many", "a: not a tensor file: it does not say how many"),
        ([], -1, "a: not a tensor file: it does not say how many"),
        ([np.zeros(SHAPE)], 2, f"a: batch 1 is missing \\({KEY}_1/{KEY}\\)"),
        ([np.zeros((1, 3, 2, 2)), np.zeros((1, 3, 2, 3))], None, "a: its images have different sizes"),
        ([np.zeros((3, 2, 2))], None, r"a: batch 0 holds float64 of shape \(3, 2, 2\), not images"),
        ([np.zeros((1, 2, 2, 2))], None, "not images"),
        ([np.zeros((0, 3, 2, 2))], None, "not images"),
        ([np.zeros((1, 3, 2, 2), np.uint8)], None, "a: batch 0 holds uint8"),
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, arrays: list[NDArray], count: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_tensorfile(by_hand(tmp_path / "a", arrays, count))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: no such tensor file \(qatkit calibration_tensorfile makes one\)"):
        open_tensorfile(tmp_path / "none")


@pytest.mark.parametrize("data", [b"", b"no HDF5 file", b"\x89HDF\r\n\x1a\n" + bytes(64)])
def test_other_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match="a: not a tensor file, or damaged"):
        open_tensorfile(tmp_path / "a")


def test_hdf5_files_of_another_kind(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(DataError, match="a: not a tensor file: it does not say how many batches it holds"):
        open_tensorfile(tmp_path / "a")


def test_batches_that_are_too_large_for_their_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a", "w") as file:
        file.attrs["count"] = 1
        file.create_group(f"{KEY}_0").create_dataset(KEY, (1, 3, 1 << 20, 1 << 20), "f4", chunks=(1, 1, 64, 64))
    with pytest.raises(DataError, match=r"a: batch 0 of shape \(1, 3, 1048576, 1048576\) cannot be in this file"):
        open_tensorfile(tmp_path / "a")


def test_constant_images_are_small_and_read(tmp_path: Path) -> None:
    write_tensorfile(tmp_path / "a", [np.zeros((8, 544, 960, 3), np.float32)])
    assert len(open_tensorfile(tmp_path / "a")) == 8


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    values = np.zeros((2, 3, 2, 2), np.float32)
    values[1, 0, 0, 0] = np.nan
    images = iter(open_tensorfile(by_hand(tmp_path / "a", [values])))
    next(images)
    with pytest.raises(DataError, match="a: batch 0, image 1: not all of its values are numbers"):
        next(images)


def _external_link(file: h5py.File, other: Path) -> None:
    file[f"{KEY}_0"] = h5py.ExternalLink(str(other), f"{KEY}_0")


def _external_storage(file: h5py.File, other: Path) -> None:
    group = file.create_group(f"{KEY}_0")
    group.create_dataset(KEY, (1, 3, 2, 2), "f4", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((1, 3, 2, 2), "f4")
    layout[:] = h5py.VirtualSource(str(other), f"{KEY}_0/{KEY}", (1, 3, 2, 2))
    file.create_group(f"{KEY}_0").create_virtual_dataset(KEY, layout)


@pytest.mark.parametrize("link", [_external_link, _external_storage, _virtual])
def test_other_files_are_not_read(tmp_path: Path, link: Callable[[h5py.File, Path], None]) -> None:
    other = by_hand(tmp_path / "other", [np.zeros((1, 3, 2, 2), np.float32)])
    with h5py.File(tmp_path / "a", "w") as file:
        file.attrs["count"] = 1
        link(file, other)
    with pytest.raises(DataError, match="a: batch 0 is missing"):
        open_tensorfile(tmp_path / "a")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("no folder")
    with pytest.raises(EnvironmentProblem):
        write_tensorfile(tmp_path / "a" / "b", batches(1))


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    def failing() -> object:
        yield from batches(1)
        raise DataError("an image is missing")

    with pytest.raises(DataError, match="an image is missing"):
        write_tensorfile(tmp_path / "a", failing())
    assert list(tmp_path.iterdir()) == []


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_is_a_data_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        write_tensorfile(path, batches(1))
        whole = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
        else:
            for _ in range(data.draw(st.integers(1, 4))):
                whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
        try:
            file = open_tensorfile(path)
            assert {image.shape for image in file} == {(1, *file.image_shape)}
        except DataError as error:
            assert str(error).startswith(f"{path}: ")
