"""Calibrators: from the distribution of a tensor to amax, the largest magnitude that an INT8 code stands for.

All quantization is symmetric with the codes -127..127: scale = amax / 127. A tensor that is zero everywhere has
amax 0 here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qatkit.choices import CalibratorName
from qatkit.errors import UsageError
from qatkit.quantization.calibration.histogram import Histogram
from qatkit.quantization.folding import CODE_MAX

Calibrator = Callable[[Histogram], float]
Floats = NDArray[np.float64]

# TensorRT's histogram, the levels it compares with, and the smallest candidate: one bin per level.
ENTROPY_BINS = 2048
LEVELS = 128
# Divergences closer than this are equal but for rounding.
_TIE = 1e-10
# Where hardly any value is small (a saturated sigmoid), a candidate that keeps a handful of them, and clips the rest,
# has divergence 0. No candidate may clip more than this part; on ordinary tensors the choice is far below it.
_MOST_CLIPPED = 0.1


def calibrator(name: str) -> Calibrator:
    """The calibrator called `name`. Raises UsageError when there is none."""
    for known, chosen in CALIBRATORS.items():
        if name == known:
            return chosen
    raise UsageError(f"there is no calibrator {name!r}", hint=f"one of {', '.join(CALIBRATORS)}")


def follows_first_batch(choose: Calibrator) -> bool:
    """Whether the range of the histogram has to start at the largest magnitude of the first batch."""
    return choose is entropy


def minmax(histogram: Histogram) -> float:
    """The largest magnitude that occurred: nothing is clipped."""
    return histogram.maximum


def percentile(histogram: Histogram, percent: float = 99.99) -> float:
    """The magnitude that `percent` % of the values, zeros included, do not exceed; up to one bin too large."""
    below = np.cumsum(histogram.occupied())
    position = int(np.searchsorted(below, below[-1] * percent / 100))
    return min((position + 1) * histogram.bin_width, histogram.maximum)


def mse(histogram: Histogram) -> float:
    """The amax with the smallest mean squared difference between values and their quantized values.

    Candidates are multiples of maximum / 2048 from maximum / 16 up, as for entropy; of equal ones the largest wins.
    """
    if histogram.maximum == 0:
        return 0.0
    candidates = histogram.maximum * np.arange(LEVELS, ENTROPY_BINS + 1) / ENTROPY_BINS
    errors = _squared_errors(histogram.occupied(), histogram.bin_width, candidates)
    return float(candidates[np.flatnonzero(errors == errors.min())[-1]])


def entropy(histogram: Histogram) -> float:
    """The amax that TensorRT's entropy calibrator takes: the least Kullback-Leibler divergence.

    Candidate i keeps the first i of 2048 bins over the histogram's range and gives amax (i + 0.5) bins. Zeros do not
    count: the first bin is taken to be as full as the second. Candidates that clip more than a tenth of the values do
    not count; of equal ones the one next to the maximum wins.

    For TensorRT's very numbers the range has to start at the largest magnitude of the first batch (`measure`): its
    histogram doubles its range where a later batch exceeds it. A tensor that reaches 1 at once, and of which nothing
    is clipped, gets 1.00024, as in TensorRT's caches.
    Sources: S. Migacz, 8-bit inference with TensorRT, GTC 2017; NVIDIA's pytorch-quantization for the first bin;
    TensorRT's developer guide (calibration batch size) for the range; all of it held against a cache of TensorRT
    8.5.3.1, of which every range is met (`tests/export/test_calibrate_tensorrt.py`).
    """
    if histogram.maximum == 0:
        return 0.0
    counts = histogram.merged(ENTROPY_BINS).astype(np.float64)
    counts[0] = counts[1]
    if not counts.any():  # magnitudes so small that the first bin holds them all
        return histogram.maximum
    kept = np.cumsum(counts)[LEVELS - 1 :] / counts.sum()
    errors = np.where(kept < 1 - _MOST_CLIPPED, np.inf, divergences(counts))
    equal = LEVELS + np.flatnonzero(errors <= errors.min() + _TIE)
    all_kept = np.flatnonzero(counts)[-1] + 1
    chosen = int(equal[np.abs(equal - all_kept).argmin()])
    return (chosen + 0.5) * histogram.range / ENTROPY_BINS


def divergences(counts: Floats) -> Floats:
    """KL(P || Q) of every candidate: keeping the first 128, 129, ... or all bins of `counts`, which are not all 0.

    P: the bins that are kept, what lies beyond added to the last one. Q: the same bins without that, merged into 128
    levels; a level's mass is spread evenly over those of its bins that are not empty. Both normalized. Infinite where
    the last bin is empty though something lies beyond: P has mass there and Q has none.
    """
    # With m the mass, n the filled bins of a level, t the last bin of P, o what lies beyond, S and T the masses of
    # Q and P:  T * KL = sum(b log b) + t log t - sum(m log(m/n)) - o log(m/n of the last level) - T log(T / S).
    # All sums come from cumulative ones, so that a candidate costs 128 steps instead of 2048.
    kept = np.arange(LEVELS, len(counts) + 1)
    mass = _cumulative(counts)
    total = mass[-1]
    beyond = total - mass[kept]
    last = counts[kept - 1]
    starts = -(-kept[:, None] * np.arange(LEVELS + 1) // LEVELS)
    level_mass = np.diff(mass[starts], axis=1)
    level_mean = level_mass / np.maximum(np.diff(_cumulative(counts > 0)[starts], axis=1), 1)
    in_p = _cumulative(_times_log(counts, counts))[kept - 1] + _times_log(last + beyond, last + beyond)
    in_q = _times_log(level_mass, level_mean).sum(axis=1) + _times_log(beyond, level_mean[:, -1])
    scale = np.log(total) - np.log(np.maximum(mass[kept], np.finfo(np.float64).tiny))
    return np.where((last > 0) | (beyond == 0), (in_p - in_q) / total - scale, np.inf)


def _squared_errors(counts: NDArray[np.int64], width: float, candidates: Floats) -> Floats:
    """Sum of squared quantization errors for every candidate amax; the values of a bin are taken to be at its centre.

    With code c of a value x: sum((x - c s)^2) = sum(x^2) - 2 s sum(c x) + s^2 sum(c^2); a value's c is the number of
    rounding thresholds (k - 0.5) s below it, so both sums run over the thresholds and what lies above each.
    """
    centres = (np.arange(len(counts)) + 0.5) * width
    above, moment_above = (_above(values) for values in (counts, counts * centres))
    codes = np.arange(1, CODE_MAX + 1)
    scales = candidates / CODE_MAX
    first = np.ceil(scales[:, None] * (codes - 0.5) / width - 0.5).astype(np.int64)
    first = np.minimum(first, len(counts))
    squares = above[first] @ (2.0 * codes - 1)
    moments: NDArray[np.float64] = moment_above[first].sum(axis=1)
    return float((counts * centres**2).sum()) - 2 * scales * moments + scales**2 * squares


def _cumulative(values: NDArray[np.generic]) -> Floats:
    """Element k is the sum of the first k values."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _above(values: NDArray[np.generic]) -> Floats:
    """Element k is the sum of the values from index k on."""
    return _cumulative(values[::-1])[::-1]


def _times_log(factors: Floats, values: Floats) -> Floats:
    """factors * log(values), 0 where a value is 0."""
    return factors * np.log(np.where(values > 0, values, 1))


CALIBRATORS: dict[CalibratorName, Calibrator] = {
    "entropy": entropy,
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
}
