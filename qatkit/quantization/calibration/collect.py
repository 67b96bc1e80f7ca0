"""Histograms of every tensor of a network, and the ranges that a calibrator reads from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.errors import DataError, ModelError
from qatkit.quantization.calibration.calibrators import Calibrator
from qatkit.quantization.calibration.histogram import Histogram

# Tensor name -> values.
Batch = Mapping[str, NDArray[np.floating[Any]]]

# A tensor that is zero everywhere still needs a range. TensorRT takes FLT_EPSILON: `30810204` in its caches.
SMALLEST_AMAX = 2.0**-23


def collect(batches: Iterable[Batch]) -> dict[str, Histogram]:
    """The histogram of every tensor over all batches, whatever the shapes of the values.

    Raises DataError when there is no batch, ModelError naming the tensor when a value is not finite.
    """
    histograms: defaultdict[str, Histogram] = defaultdict(Histogram)
    for batch in batches:
        _add(histograms, batch)
        # The tensors of one image can take gigabytes: they go before those of the next are made.
        del batch
    if not histograms:
        raise DataError("there are no images to calibrate with")
    return dict(histograms)


def _add(histograms: Mapping[str, Histogram], batch: Batch) -> None:
    for name, values in batch.items():
        try:
            histograms[name].add(values)
        except ValueError as error:
            raise ModelError(f"tensor {name}: {error}", hint="did training diverge?") from error


def ranges(histograms: Mapping[str, Histogram], calibrator: Calibrator) -> dict[str, float]:
    """Tensor name -> amax, at least 2^-23."""
    return {name: max(calibrator(histogram), SMALLEST_AMAX) for name, histogram in histograms.items()}
