"""Entropy calibration against the cache that TensorRT itself wrote of the same network and the same images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from qatkit.export.cache import read_cache
from qatkit.export.calibrate import calibrate

GOLDEN = Path(os.environ.get("QATKIT_SHARED") or Path(__file__).parents[3] / "shared") / "golden" / "13_tensorrt"
BATCH = 8

pytestmark = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"no {GOLDEN}; QATKIT_SHARED names the folder above golden"
)


@pytest.fixture(scope="module")
def ratios() -> dict[str, float]:
    """Tensor name -> our range over TensorRT's."""
    theirs = read_cache(GOLDEN / "qat" / "tensorrt_entropy.cache").ranges
    pixels = np.load(GOLDEN / "calibration_images.npz")["images"]
    batches = (pixels[start : start + BATCH] / np.float32(255) for start in range(0, len(pixels), BATCH))
    ours = calibrate(onnx.load(GOLDEN / "qat" / "model.onnx"), batches)
    assert list(ours) == list(theirs)
    return {name: amax / theirs[name] for name, amax in ours.items()}


def test_every_range_is_that_of_tensorrt(ratios: dict[str, float]) -> None:
    """With noise of 3e-4 on every activation, as much as TF32 makes, none of them is off by more than 0.2 %."""
    assert len(ratios) == 30
    assert {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > 0.01} == {}


def test_bins_and_their_numbers_are_those_of_tensorrt(ratios: dict[str, float]) -> None:
    """Up to the rounding of float32; all 30 where this was written, fewer where two candidates are equally good."""
    assert sum(abs(ratio - 1) < 1e-5 for ratio in ratios.values()) >= 27
