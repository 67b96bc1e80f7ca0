"""How the magnitudes of a tensor are distributed, gathered value by value in constant memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 15
# Values binned at once: the copies of so many stay in the processor's cache.
_CHUNK = 1 << 18
# The range starts at 2 ** this. Whatever is smaller lies in the first bin.
_SMALLEST_EXPONENT = -64
# Less than this part of one value in a resampled bin is a rounding error of the interpolation.
_DUST = 1e-6


class Histogram:
    """Counts of |x| in 32768 equal bins over [0, 2^e), 2^e being the smallest power of two above every value.

    Where a value is too large, e grows and neighbouring bins are merged. Bin edges of the small range are edges of
    the large one too, so the result depends neither on the order of the values nor on how they were split into
    batches. At least half of the bins lie below the maximum: |x| is known to 1/16384 of the maximum or better, the
    maximum exactly. 256 KiB, however many values were added.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.maximum = 0.0
        self.has_negative = False
        self._exponent = _SMALLEST_EXPONENT

    @property
    def total(self) -> int:
        """The number of values that were added, zeros included."""
        return int(self.counts.sum())

    @property
    def bin_width(self) -> float:
        return math.ldexp(1 / BINS, self._exponent)

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Count `values`, of any shape, as float32. Raises ValueError when one is not finite."""
        flat = np.asarray(values, np.float32).ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("a value is not finite")
        self._cover(max(-low, high))
        self.has_negative |= low < 0
        for start in range(0, flat.size, _CHUNK):
            self.counts += self._binned(flat[start : start + _CHUNK])

    def _cover(self, magnitude: float) -> None:
        """Make the range large enough for `magnitude`."""
        self.maximum = max(self.maximum, magnitude)
        if magnitude < math.ldexp(1, self._exponent):
            return
        grown = math.frexp(magnitude)[1]
        merged = 1 << min(grown - self._exponent, BINS.bit_length() - 1)
        counts = self.counts.reshape(-1, merged).sum(axis=1)
        self.counts = np.pad(counts, (0, BINS - len(counts)))
        self._exponent = grown

    def _binned(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        scaled = np.abs(values)
        scaled *= np.float32(1 / self.bin_width)  # a power of two: exact
        return np.bincount(scaled.astype(np.int32), minlength=BINS)

    def occupied(self) -> NDArray[np.int64]:
        """The counts up to the bin of the maximum."""
        return self.counts[: int(self.maximum / self.bin_width) + 1]

    def resampled(self, bins: int) -> NDArray[np.float64]:
        """The counts in `bins` equal bins over [0, maximum], which must not be 0.

        A bin that an edge cuts is split in proportion, so these are not integers; their sum is.
        """
        counts = self.occupied()
        edges = np.arange(len(counts) + 1) * self.bin_width
        edges[-1] = self.maximum
        below = np.concatenate([[0], np.cumsum(counts)])
        parts = np.diff(np.interp(np.linspace(0, self.maximum, bins + 1), edges, below))
        return np.where(parts < _DUST, 0, parts)
