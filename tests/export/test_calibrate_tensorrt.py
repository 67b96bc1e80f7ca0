"""Entropy calibration against the cache that TensorRT itself wrote of the same network and the same images."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from qatkit.export.cache import read_cache
from qatkit.export.calibrate import calibrate
from tests.support.tensorrt_data import FOLDER, needed

BATCH = 8

pytestmark = needed


@pytest.fixture(scope="module")
def ratios() -> dict[str, float]:
    """Tensor name -> our range over TensorRT's."""
    theirs = read_cache(FOLDER / "qat" / "tensorrt_entropy.cache").ranges
    pixels = np.load(FOLDER / "calibration_images.npz")["images"]
    batches = (pixels[start : start + BATCH] / np.float32(255) for start in range(0, len(pixels), BATCH))
    ours = calibrate(onnx.load(FOLDER / "qat" / "model.onnx"), batches)
    assert list(ours) == list(theirs)
    return {name: amax / theirs[name] for name, amax in ours.items()}


def test_every_range_is_that_of_tensorrt(ratios: dict[str, float]) -> None:
    """With noise of 3e-4 on every activation, as much as TF32 makes, none of them is off by more than 0.2 %."""
    assert len(ratios) == 30
    assert {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > 0.01} == {}


def test_bins_and_their_numbers_are_those_of_tensorrt(ratios: dict[str, float]) -> None:
    """Up to the rounding of float32; all 30 where this was written, fewer where two candidates are equally good."""
    assert sum(abs(ratio - 1) < 1e-5 for ratio in ratios.values()) >= 27
