"""The ranges with which quantization-aware training of a float graph starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from qatkit.choices import CALIBRATOR, CalibratorName
from qatkit.errors import DataError, ModelError
from qatkit.graph.graph import Graph
from qatkit.keras.network import to_keras
from qatkit.quantization.calibration.calibrators import calibrator as find_calibrator
from qatkit.quantization.calibration.calibrators import follows_first_batch
from qatkit.quantization.calibration.collect import ranges
from qatkit.quantization.calibration.histogram import BINS, Histogram
from qatkit.quantization.placement import QuantizationPlan

Array = NDArray[np.float32]


def initial_ranges(
    graph: Graph,
    plan: QuantizationPlan,
    images: Iterable[Array],
    calibrator: CalibratorName = CALIBRATOR,
) -> dict[str, float]:
    """Node name -> amax of its output, by `calibrator`, as in post-training quantization.

    images: batches [B, H, W, C] in 0..1; a handful is enough. Raises DataError when there is none, UsageError for an
    unknown calibrator, ModelError naming the tensor when a value is not finite.
    """
    choose = find_calibrator(calibrator)
    network = to_keras(graph)
    tensors = [
        network.model.input if name == graph.input.name else network.layers[name].output for name in plan.activations
    ]
    probe = tf_keras.Model(network.model.input, tensors)
    count = _Count(probe, plan.activations, starts_at_peak=follows_first_batch(choose))
    for batch in images:
        count.add(batch)
    if not count.histograms:
        raise DataError("there are no images to calibrate with")
    return ranges(count.histograms, choose)


class _Count:
    """Histograms of the outputs of a network, counted on the device that it runs on; what they mean is known here.

    starts_at_peak: whether the range of each histogram starts from the largest magnitude of the first batch.
    """

    def __init__(self, probe: tf_keras.Model, names: Sequence[str], *, starts_at_peak: bool) -> None:
        self.histograms: dict[str, Histogram] = {}
        self._probe = probe
        self._names = names
        self._starts_at_peak = starts_at_peak
        self._counts = tf.function(self._counted, reduce_retracing=True)

    def add(self, images: Array) -> None:
        """Count the outputs for images [B, H, W, C]. Raises ModelError naming the tensor when one is not finite."""
        peaks, counts = (result.numpy() for result in self._counts(tf.constant(images)))
        for name, finite in zip(self._names, np.isfinite(peaks).all(axis=1)):
            if not finite:
                raise ModelError(f"tensor {name}: a value is not finite", hint="did training diverge?")
        for name, bins in zip(self._names, counts):
            self.histograms[name].add_bins(bins)

    def _counted(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Smallest and largest value of each of the T tensors [T, 2], and counts [T, BINS + 1]."""
        tensors = [tf.reshape(tensor, [-1]) for tensor in tf.nest.flatten(self._probe(images, training=False))]
        peaks = tf.stack([_extent(tensor) for tensor in tensors])
        widths = tf.ensure_shape(tf.numpy_function(self._covered, [peaks], tf.float32), [len(tensors)])
        return peaks, tf.stack([_binned(tensor, width) for tensor, width in zip(tensors, tf.unstack(widths))])

    def _covered(self, peaks: Array) -> Array:
        """Make the ranges of the histograms large enough for values between `peaks` [T, 2]; their bin widths [T]."""
        widths = [self._width(name, float(low), float(high)) for name, (low, high) in zip(self._names, peaks)]
        return np.array(widths, np.float32)

    def _width(self, name: str, low: float, high: float) -> float:
        if not np.isfinite([low, high]).all():
            return 1.0
        if name not in self.histograms:
            self.histograms[name] = Histogram(max(-low, high) if self._starts_at_peak else 0.0)
        self.histograms[name].cover(low, high)
        return self.histograms[name].bin_width


def _extent(values: tf.Tensor) -> tf.Tensor:
    """[2] smallest and largest value, NaN where one is not finite (which the extremes of NaN need not show)."""
    found = tf.stack([tf.reduce_min(values), tf.reduce_max(values)])
    return tf.where(tf.reduce_all(tf.math.is_finite(values)), found, np.nan)


def _binned(values: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """[BINS + 1] how many of `values` [N] are in each bin, as `Histogram` wants them."""
    bins = tf.cast(tf.math.ceil(tf.abs(values) / width), tf.int32)
    # Only values that are not finite lie beyond; nothing is made of their counts.
    bins = tf.clip_by_value(bins, 0, BINS)
    return tf.raw_ops.DenseBincount(input=bins, size=BINS + 1, weights=tf.constant([], tf.int32), binary_output=False)
