from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from qatkit.training.watch.events import EventFiles, buckets
from tests.support.event_files import Entry, read_events


def test_what_is_written_is_what_tensorboard_reads(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    files.scalars({"cost": 0.5, "a name (in %)": 99.0}, 3)
    files.scalars({"cost": 0.25}, 4)
    files.histograms({"weights": np.float32([[0, 30], [30, 15]])}, 4)
    images = np.random.default_rng(0).integers(0, 255, (2, 4, 6, 3)).astype(np.uint8)
    files.images("image", images, 4)
    files.close(failed=False)
    found = read_events(tmp_path)
    assert found[:3] == [
        Entry("cost", 3, "scalars", 0.5),
        Entry("a name (in %)", 3, "scalars", 99.0),
        Entry("cost", 4, "scalars", 0.25),
    ]
    assert [entry[:3] for entry in found[3:]] == [("weights", 4, "histograms"), ("image", 4, "images")]
    assert found[3].value[:, 2].tolist() == [1, *[0] * 14, 1, *[0] * 13, 2]
    width, height, *pictures = found[4].value
    assert (width, height) == (b"6", b"4")
    for picture, image in zip(pictures, images, strict=True):
        assert_array_equal(np.asarray(Image.open(io.BytesIO(picture))), image)


def test_values_are_in_the_file_before_the_training_ends(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    files.scalars({"cost": 0.5}, 1)
    assert len(read_events(tmp_path)) == 1


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = EventFiles(None)
    files.scalars({"cost": 0.5}, 1)
    files.histograms({"weights": np.zeros(3, np.float32)}, 1)
    files.images("image", np.zeros((1, 2, 2, 3), np.uint8), 1)
    files.close(failed=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "values, count",
    [([], 1), ([2.0], 1), ([1.0, 2.0, np.nan, np.inf], 2)],  # what is no number has no place on an axis
)
def test_buckets(values: list[float], count: int) -> None:
    found = buckets(np.float32(values))
    assert found.shape == (30, 3)
    assert found[:, 2].sum() == count
    assert (found[1:, 0] == found[:-1, 1]).all() and np.isfinite(found).all()
