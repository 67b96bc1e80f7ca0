"""From a float graph to a network ready for quantization-aware training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import tf_keras
from numpy.typing import NDArray

from qatkit.errors import DataError
from qatkit.graph.nodes import Graph
from qatkit.quantization.fake_quant import QuantizedKerasGraph, to_fake_quantized
from qatkit.quantization.placement import QuantizationPlan
from qatkit.training.keras_model import to_keras

# An all-zero tensor (a dead layer) still needs a range.
_SMALLEST_AMAX = 1e-6


def initial_ranges(graph: Graph, plan: QuantizationPlan, images: Iterable[NDArray[np.float32]]) -> dict[str, float]:
    """Node name -> mean over the batches of max|x|, what the moving average of training converges to.

    images: batches [B, H, W, C] in 0..1; a handful is enough. Raises DataError when there is none.
    """
    network = to_keras(graph)
    tensors = [
        network.model.input if name == graph.input.name else network.layers[name].output for name in plan.activations
    ]
    probe = tf_keras.Model(network.model.input, tensors)
    peaks = [[float(abs(np.asarray(tensor)).max()) for tensor in probe(batch, training=False)] for batch in images]
    if not peaks:
        raise DataError("there is no image to start the quantization ranges from")
    means = np.mean(peaks, axis=0)
    return {name: max(float(amax), _SMALLEST_AMAX) for name, amax in zip(plan.activations, means)}


def start_qat(
    graph: Graph, plan: QuantizationPlan, images: Iterable[NDArray[np.float32]], ema_decay: float
) -> QuantizedKerasGraph:
    """The fake-quantized network of `graph`, its ranges calibrated on `images`."""
    ranges: Mapping[str, float] = initial_ranges(graph, plan, images)
    return to_fake_quantized(graph, plan, ranges, ema_decay)
