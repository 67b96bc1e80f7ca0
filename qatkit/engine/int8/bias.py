"""Integer sums with a float bias, for QLinearConv, which adds an int32 to a sum before it scales and rounds it.

TensorRT scales the integer sum and adds the bias in float. A unit of the sum is worth `step` codes of the result, so
a bias of b codes is b / step units: not a whole number, unless training moved it there. But a result of 0..limit
leaves room among the 256 values of uint8. Stored n codes higher, its bias is (b + n) / step units, and of the many n
that fit one makes this a whole number but for some hundredths of a unit. Afterwards n is taken away again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UINT8_MAX = 255
# QLinearConv's bias is int32; one above this would not leave room for the products.
_BIAS_MAX = 2**30
# In codes: float32 cannot tell results closer than this apart where they are near 127.
NEGLIGIBLE = 2.0**-18
# In codes, the mean of the channels: biases that cannot come closer than this are added in float. At most one code in
# 130,000 then differs from TensorRT's. (Single channels may be further off: of a step of 1 / 2000 no shift helps.)
_TOLERANCE = 2.0**-17
# In codes: how much a result of an ordinary channel changes at least when all codes that it is made of change by one.
# Where a quarter of the channels are below, they hold little more than codes of 0 and 1, and any that differs is a
# large part of their signal. (Networks as they are: 0.3 to 2.5. With channels widened by up to 256: 0.02 to 0.07.)
_LEAST_GAIN = 0.1
# In codes, per code of shift: float32 rounds larger numbers more coarsely.
_COST_OF_SHIFT = 2.0**-25
# A step may be so many of float32's numbers beside the right one, which moves a code of this size only a little.
_NEIGHBOURS = 4
_ORDINARY_CODE = 16
# In codes: a result that is so far away from all of them is saturated.
_FAR = 512.0


@dataclass(frozen=True)
class IntegerSums:
    """result + shift = (sum of products with `codes` + bias) * step; all but the codes O I kh kw are per channel.

    step: float32, in codes of the result. bias: int32. shift: uint8, how many codes too high the result is stored.
    """

    codes: NDArray[np.int8]
    step: NDArray[np.float32]
    bias: NDArray[np.int32]
    shift: NDArray[np.uint8]


def integer_sums(codes: NDArray[np.int8], step: Floats, bias: Floats, limit: int) -> IntegerSums | None:
    """The integers that stand for a convolution with a float bias; None where they would not come close enough.

    codes: the kernel, O I kh kw. step, bias: per channel, a unit of the sum and the bias, in codes of the result.
    limit: the largest code of a result that begins at 0; the more room below 255, the closer the bias comes.
    """
    flat = codes.reshape(len(codes), -1).astype(np.float64)
    weak = np.abs(flat).sum(axis=1) * UINT8_MAX * step < NEGLIGIBLE
    # Without its products a channel may have any step: int32 could not hold the bias of one that is all but switched
    # off, as training leaves some.
    codes = np.where(weak.reshape(-1, 1, 1, 1), np.int8(0), codes)
    bias = np.where(weak, np.clip(bias, -_FAR, _FAR), bias)
    found = _Candidates(np.where(weak, NEGLIGIBLE, step), bias, np.arange(UINT8_MAX - limit + 1))
    chosen = found.best()
    integers, errors = found.integers[chosen], found.errors[chosen]
    ordinary = np.quantile(np.linalg.norm(flat, axis=1) * step, 0.25) >= _LEAST_GAIN
    close = found.on_grid.all() or (ordinary and errors.mean() <= _TOLERANCE)
    if not close or np.abs(integers).max() > _BIAS_MAX:
        return None
    channel, shift, neighbour = chosen
    return IntegerSums(
        codes, found.steps[channel, neighbour], integers.astype(np.int32), found.shifts[shift].astype(np.uint8)
    )


class _Candidates:
    """All shifts with all float32 steps near the right one: arrays [channel, shift, step].

    integers: the bias in units. errors: what a result of 0 or one of an ordinary code is off, in codes.
    on_grid: the channels that need no shift, as quantization-aware training leaves them.
    """

    def __init__(self, step: Floats, bias: Floats, shifts: NDArray[np.int64]) -> None:
        nearest = step.astype(np.float32)
        neighbours = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
        self.shifts = shifts
        self.steps: NDArray[np.float32] = (nearest[:, None] + neighbours * np.spacing(nearest)[:, None]).astype(
            np.float32
        )
        exact = self.steps.astype(np.float64)[:, None, :]
        # A result u is (u - bias) / step units of the sum, plus the integer bias, times the step that is taken.
        stretch = exact / step[:, None, None]
        wanted = bias[:, None, None] * stretch + shifts[:, None]
        self.integers: Floats = np.rint(wanted / exact)
        of_zero = self.integers * exact - wanted
        self.errors: Floats = np.maximum(np.abs(of_zero), np.abs(of_zero + _ORDINARY_CODE * (stretch - 1)))
        self.on_grid = self.errors[:, 0].min(axis=1) <= NEGLIGIBLE

    def best(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Indices of one candidate per channel."""
        cost = self.errors + self.shifts[:, None] * _COST_OF_SHIFT
        cost[self.on_grid, 1:] = np.inf
        channels = np.arange(len(cost))
        shift, neighbour = np.unravel_index(cost.reshape(len(cost), -1).argmin(axis=1), cost.shape[1:])
        return channels, shift, neighbour
