"""How strong each filter of a convolution is, and which ones stay.

The formulas are those of TAO's pruner; arrays are float64, so that equal filters compare equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from qatkit.choices import Criterion as Criterion
from qatkit.choices import Normalizer as Normalizer

Array = NDArray[np.float64]


def filter_norms(kernel: NDArray[np.float32], *, depthwise: bool = False) -> Array:
    """L2 norm of each filter, biases ignored: [N].

    kernel: [kh, kw, in, N], or [kh, kw, N, 1] of a depthwise convolution.
    """
    axes = (0, 1, 3) if depthwise else (0, 1, 2)
    squares: Array = np.sum(np.square(kernel, dtype=np.float64), axis=axes)
    return np.sqrt(squares)


def normalize(norms: Array, normalizer: Normalizer) -> Array:
    """Norms [N] relative to their layer.

    max: divided by the largest, so in 0..1. L2: divided by the norms' own L2 norm and multiplied by N, so about
    sqrt(N): thresholds of the two are not comparable. A layer of zeros stays zero.
    """
    scale = norms.max() if normalizer == "max" else math.sqrt(np.sum(norms**2)) / len(norms)
    return norms / scale if scale > 0 else np.zeros_like(norms)


def _geometric_mean(stats: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(np.mean(np.log(stats), axis=0)))


_MERGERS: dict[Criterion, Callable[[Array], Array]] = {
    "union": lambda stats: np.max(stats, axis=0),
    "intersection": lambda stats: np.min(stats, axis=0),
    "arithmetic_mean": lambda stats: np.mean(stats, axis=0),
    "geometric_mean": _geometric_mean,
}


def merge(stats: Sequence[Array], criterion: Criterion) -> Array:
    """One vector [N] for layers whose channels must stay the same ones, from the vector [N] of each."""
    return _MERGERS[criterion](np.stack(stats))


def keep_count(stats: Array, threshold: float, granularity: int, minimum: int) -> int:
    """How many of the filters stay.

    Those above the threshold, at least `minimum`, rounded up to a multiple of `granularity`, at most all.
    """
    count = max(int(np.count_nonzero(stats > threshold)), min(minimum, len(stats)))
    return min(-(-count // granularity) * granularity, len(stats))


def keep(stats: Array, threshold: float, granularity: int, minimum: int) -> NDArray[np.intp]:
    """The indices, ascending, of the filters that stay: the strongest ones; of equal ones the first."""
    count = keep_count(stats, threshold, granularity, minimum)
    return np.sort(np.argsort(-stats, kind="stable")[:count])
