"""The ranges with which quantization-aware training of a float graph starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from qatkit.choices import CALIBRATOR, CalibratorName
from qatkit.graph.graph import Graph
from qatkit.keras.network import to_keras
from qatkit.quantization.calibration.calibrators import calibrator as find_calibrator
from qatkit.quantization.calibration.collect import measure
from qatkit.quantization.placement import QuantizationPlan


def initial_ranges(
    graph: Graph,
    plan: QuantizationPlan,
    images: Iterable[NDArray[np.float32]],
    calibrator: CalibratorName = CALIBRATOR,
) -> dict[str, float]:
    """Node name -> amax of its output, by `calibrator`, as in post-training quantization.

    images: batches [B, H, W, C] in 0..1; a handful is enough. Raises DataError when there is none, UsageError for an
    unknown calibrator.
    """
    choose = find_calibrator(calibrator)
    network = to_keras(graph)
    tensors = [
        network.model.input if name == graph.input.name else network.layers[name].output for name in plan.activations
    ]
    probe = tf_keras.Model(network.model.input, tensors)

    def run(batches: Iterable[NDArray[np.float32]]) -> Iterator[dict[str, NDArray[np.float32]]]:
        for batch in batches:
            values = probe(tf.constant(batch), training=False)
            yield {name: value.numpy() for name, value in zip(plan.activations, values)}
            del values

    return measure(run, images, choose)
