"""Average precision of a ranked list of detections."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ApMode(IntEnum):
    """Values of EvaluationConfig.average_precision_mode."""

    SAMPLE = 0
    INTEGRATE = 1


class Curve(NamedTuple):
    """Precision and recall [n] after each of the n most confident detections, 0..1."""

    precision: Floats
    recall: Floats


def precision_recall(right: NDArray[np.bool_], truths: int) -> Curve:
    """The curve of detections [n], the most confident first, that should find `truths` > 0 objects."""
    hits = np.cumsum(right, dtype=np.float64)
    return Curve(hits / np.arange(1, len(right) + 1), hits / truths)


def average_precision(
    right: NDArray[np.bool_], truths: int, mode: ApMode, *, tao_formulas: bool = False
) -> float | None:
    """Average precision, 0..1, of detections [n], the most confident first, that should find `truths` objects.

    None where there is no object to find. SAMPLE is Pascal VOC's up to 2009, INTEGRATE its later one.

    tao_formulas: 0 instead of None, and TAO's INTEGRATE (see `_tao_area`).
    """
    if not truths:
        return 0.0 if tao_formulas else None
    if not len(right):
        return 0.0
    curve = precision_recall(right, truths)
    if mode is ApMode.SAMPLE:
        return _sampled(curve)
    return _tao_area(curve) if tao_formulas else _area(curve)


def _sampled(curve: Curve) -> float:
    """Mean over the recalls 0, 0.1 .. 1 of the best precision at that recall or more (0 where it is not reached)."""
    levels = np.linspace(0, 1, 11)
    reached = np.searchsorted(curve.recall, levels, side="left")
    best = np.append(_envelope(curve.precision), 0.0)
    return float(best[reached].mean())


def _area(curve: Curve) -> float:
    """Area under the curve, whose precision is first made to fall monotonically."""
    steps = np.diff(curve.recall, prepend=0.0)
    return float(np.sum(steps * _envelope(curve.precision)))


def _tao_area(curve: Curve) -> float:
    """TAO's area: without the part below the first recall and without the precision at the last new recall.

    A network without a fault gets 1 - 1 / n for n objects.
    """
    recalls, first = np.unique(curve.recall, return_index=True)
    if len(recalls) < 2:
        return 0.0
    best = _envelope(curve.precision[: first[-1]])
    return float(np.sum(np.diff(recalls) * best[first[:-1]]))


def _envelope(precision: Floats) -> Floats:
    """[n] the best precision at this rank or a later one."""
    return np.maximum.accumulate(precision[::-1])[::-1]
