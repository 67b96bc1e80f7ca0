"""The Keras model as an engine: float, or with the fake quantization it was trained with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

from qatkit.engine.base import Array, ModelInfo
from qatkit.keras.fake_quant import to_fake_quantized
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.model.file import Model


class KerasEngine:
    """Runs a Keras model built from a graph."""

    name = "keras"

    def __init__(self, network: KerasGraph, info: ModelInfo, precision: str = "fp32") -> None:
        self.network = network
        self.info = info
        self.precision = precision
        self.predict = predictor(network.model)

    @classmethod
    def from_model(cls, model: Model) -> KerasEngine:
        """The engine of a model file; a QAT model runs with its fake quantization and its ranges."""
        info = ModelInfo(model.graph.input.shape, model.labels)
        if model.plan is None:
            return cls(to_keras(model.graph), info)
        return cls(to_fake_quantized(model.graph, model.plan, model.ranges), info, "int8-qat")


def predictor(model: tf_keras.Model) -> Callable[[Array], tuple[Array, Array]]:
    """`Engine.predict` over a Keras model as it stands at each call (its outputs are bbox and cov, NHWC)."""
    forward = tf.function(lambda images: model(images, training=False))

    def predict(images: Array) -> tuple[Array, Array]:
        bbox, cov = forward(tf.convert_to_tensor(images, tf.float32))
        return _nchw(cov), _nchw(bbox)

    return predict


def _nchw(tensor: tf.Tensor) -> Array:
    return np.ascontiguousarray(np.transpose(tf.cast(tensor, tf.float32).numpy(), (0, 3, 1, 2)))
