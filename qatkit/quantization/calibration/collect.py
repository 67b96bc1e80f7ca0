"""Histograms of every tensor of a network, and the ranges that a calibrator reads from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qatkit.errors import DataError, ModelError
from qatkit.quantization.calibration.calibrators import Calibrator, follows_first_batch
from qatkit.quantization.calibration.histogram import Histogram

T = TypeVar("T")
# Tensor name -> values.
Batch = Mapping[str, NDArray[np.floating[Any]]]

# A tensor that is zero everywhere still needs a range. TensorRT takes FLT_EPSILON: `30810204` in its caches.
SMALLEST_AMAX = 2.0**-23


def measure(
    run: Callable[[Iterable[T]], Iterable[Batch]], images: Iterable[T], calibrator: Calibrator
) -> dict[str, float]:
    """Tensor name -> amax, at least 2^-23.

    run: batches of images -> the values of every tensor, in one or more parts per batch.

    Only the first batch matters as such, and only to the entropy calibrator, which is TensorRT's: the largest
    magnitude there is what the range of its histogram starts from. So that no more than one part of the values is
    held, the first batch runs twice.
    """
    batches = iter(images)
    first = list(islice(batches, 1))
    starts = peaks(run(first)) if follows_first_batch(calibrator) else {}
    return ranges(collect(run(chain(_taken(first), batches)), starts), calibrator)


def _taken(items: list[T]) -> Iterator[T]:
    """The items, none of which is held once it is given away."""
    while items:
        yield items.pop(0)


def peaks(batches: Iterable[Batch]) -> dict[str, float]:
    """The largest magnitude of every tensor over all batches, whatever the values."""
    found: defaultdict[str, float] = defaultdict(float)
    for batch in batches:
        for name, values in batch.items():
            found[name] = max(found[name], float(values.max(initial=0)), -float(values.min(initial=0)))
        del batch
    return dict(found)


def collect(batches: Iterable[Batch], starts: Mapping[str, float] | None = None) -> dict[str, Histogram]:
    """The histogram of every tensor over all batches, whatever the shapes of the values.

    starts: tensor name -> the magnitude that the range of its histogram starts from; a power of two without it.
    Raises DataError when there is no batch, ModelError naming the tensor when a value is not finite.
    """
    histograms = _Histograms(starts or {})
    for batch in batches:
        _add(histograms, batch)
        # The tensors of one image can take gigabytes: they go before those of the next are made.
        del batch
    if not histograms:
        raise DataError("there are no images to calibrate with")
    return dict(histograms)


class _Histograms(dict[str, Histogram]):
    """Tensor name -> its histogram, made where there is none yet."""

    def __init__(self, starts: Mapping[str, float]) -> None:
        super().__init__()
        self._starts = starts

    def __missing__(self, name: str) -> Histogram:
        self[name] = Histogram(self._starts.get(name, 0.0))
        return self[name]


def _add(histograms: Mapping[str, Histogram], batch: Batch) -> None:
    for name, values in batch.items():
        try:
            histograms[name].add(values)
        except ValueError as error:
            raise ModelError(f"tensor {name}: {error}", hint="did training diverge?") from error


def ranges(histograms: Mapping[str, Histogram], calibrator: Calibrator) -> dict[str, float]:
    """Tensor name -> amax, at least 2^-23."""
    return {name: max(calibrator(histogram), SMALLEST_AMAX) for name, histogram in histograms.items()}
