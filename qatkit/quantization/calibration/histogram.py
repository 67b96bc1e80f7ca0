"""How the magnitudes of a tensor are distributed, gathered value by value in constant memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 15
# Values binned at once: the copies of so many stay in the processor's cache.
_CHUNK = 1 << 18
# No range is smaller. Whatever is much smaller lies in the first bin.
_SMALLEST_RANGE = 2.0**-64


class Histogram:
    """Counts of |x| in 32768 equal bins (lower, upper] over [0, start * 2^k]; zeros lie in the first bin.

    k is the smallest whole number from 0 on with which the range holds every value: where one is too large, the range
    doubles and neighbouring bins are merged. Bin edges of the small range are edges of the large one too, so the
    result depends neither on the order of the values nor on how they were split into batches, only on `start`.
    Without `start` the range is a power of two, at most twice the maximum: |x| is known to 1/16384 of the maximum or
    better, the maximum exactly. 256 KiB, however many values were added.
    """

    def __init__(self, start: float = 0.0) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.maximum = 0.0
        self.has_negative = False
        self.range = max(_SMALLEST_RANGE, float(np.float32(start)))

    @property
    def total(self) -> int:
        """The number of values that were added, zeros included."""
        return int(self.counts.sum())

    @property
    def bin_width(self) -> float:
        return self.range / BINS

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Count `values`, of any shape, as float32. Raises ValueError when one is not finite."""
        flat = np.asarray(values, np.float32).ravel()
        if not flat.size:
            return
        self.cover(float(flat.min()), float(flat.max()))
        for start in range(0, flat.size, _CHUNK):
            self.add_bins(self._binned(flat[start : start + _CHUNK]))

    def cover(self, low: float, high: float) -> None:
        """Make the range large enough for values between `low` and `high`, both of which occur.

        Raises ValueError when one is not finite.
        """
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("a value is not finite")
        self.has_negative |= low < 0
        magnitude = max(-low, high)
        self.maximum = max(self.maximum, magnitude)
        if magnitude <= self.range:
            return
        mantissa, exponent = math.frexp(magnitude / self.range)
        doublings = exponent - (mantissa == 0.5)
        merged = 1 << min(doublings, BINS.bit_length() - 1)
        counts = self.counts.reshape(-1, merged).sum(axis=1)
        self.counts = np.pad(counts, (0, BINS - len(counts)))
        self.range = math.ldexp(self.range, doublings)

    def add_bins(self, counts: NDArray[np.integer[Any]]) -> None:
        """Count values that are covered: element k of `counts` [BINS + 1] is how many are k bins high, rounded up.

        That is, of how many ceil(|x| / float32(bin_width)) is k.
        """
        self.counts += counts[1:]
        self.counts[0] += counts[0]

    def _binned(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        scaled = np.abs(values)
        # Divided, not multiplied by an inverse: so rounded, the end of the range never lies past the last bin.
        scaled /= np.float32(self.bin_width)
        return np.bincount(np.ceil(scaled, out=scaled).astype(np.int32), minlength=BINS + 1)

    def occupied(self) -> NDArray[np.int64]:
        """The counts up to the bin of the maximum."""
        return self.counts[: int(np.flatnonzero(self.counts).max(initial=0)) + 1]

    def merged(self, bins: int) -> NDArray[np.int64]:
        """The counts in `bins` equal bins over the whole range. `bins` divides 32768."""
        sums: NDArray[np.int64] = self.counts.reshape(bins, -1).sum(axis=1)
        return sums
