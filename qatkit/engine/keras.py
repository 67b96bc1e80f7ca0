"""The Keras model as an engine: float, or with the fake quantization it was trained with."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.graph.model_file import Model
from qatkit.graph.nodes import Shape
from qatkit.quantization.fake_quant import to_fake_quantized
from qatkit.quantization.placement import QuantizationPlan
from qatkit.training.keras_model import KerasGraph, to_keras

Array = NDArray[np.float32]


class KerasEngine:
    """Runs a Keras model built from a graph."""

    name = "keras"

    def __init__(self, network: KerasGraph, precision: str = "fp32") -> None:
        self.network = network
        self.precision = precision
        self._forward = tf.function(lambda images: network.model(images, training=False))

    @classmethod
    def from_model(cls, model: Model) -> KerasEngine:
        """The engine of a model file; a QAT model runs with its fake quantization and its ranges."""
        if model.plan is None:
            return cls(to_keras(model.graph))
        plan = QuantizationPlan.from_json(model.plan)
        return cls(to_fake_quantized(model.graph, plan, model.ranges), "int8-qat")

    @property
    def input_shape(self) -> Shape:
        """(height, width, channels)."""
        return self.network.graph.input.shape

    def predict(self, images: Array) -> tuple[Array, Array]:
        """images: [B, H, W, C] in 0..1 -> cov [B, C, h, w] in 0..1, bbox [B, 4C, h, w]."""
        bbox, cov = self._forward(tf.convert_to_tensor(images, tf.float32))
        return _nchw(cov), _nchw(bbox)


def _nchw(tensor: tf.Tensor) -> Array:
    return np.ascontiguousarray(np.transpose(tf.cast(tensor, tf.float32).numpy(), (0, 3, 1, 2)))
