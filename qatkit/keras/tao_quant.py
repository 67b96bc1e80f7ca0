"""TAO's own fake quantization, for networks with its placement: to run what TAO trained as TAO runs it.

Unlike ours it has the codes -128..127, one scale for a whole kernel, a gradient of 1 outside the range too, and a
moving average that starts with the first batch. Source: the published layers of TAO (`QDQ`, `QuantizedConv2D`).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer

from qatkit.choices import EMA_DECAY

_BITS = 8
# A range of zero (a dead layer) still needs a scale.
_SMALLEST_AMAX = 1e-12


def quantize_activation(x: tf.Tensor, amax: tf.Tensor | float, bits: int = _BITS) -> tf.Tensor:
    """x rounded half to even to codes -128..127 of the scale amax / 127, as numbers; the gradient is 1 everywhere."""
    top = 2 ** (bits - 1) - 1
    amax = tf.maximum(tf.cast(amax, x.dtype), _SMALLEST_AMAX)
    return _straight_through(x, top / amax, amax / top, top)


def quantize_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """The whole kernel on one grid: that with which neither side needs more than the codes -128..127.

    A kernel whose larger side is the negative one has max|w| at -128, otherwise at 127. The gradient is 1.
    """
    top = 2 ** (_BITS - 1) - 1
    below = tf.maximum(-tf.reduce_min(kernel), _SMALLEST_AMAX)
    above = tf.maximum(tf.reduce_max(kernel), _SMALLEST_AMAX)
    from_below = below * top > above * (top + 1)
    factor = tf.where(from_below, (top + 1) / below, top / above)
    scale = tf.where(from_below, below / (top + 1), above / top)
    return _straight_through(kernel, factor, scale, top)


def _straight_through(x: tf.Tensor, factor: tf.Tensor, scale: tf.Tensor, top: int) -> tf.Tensor:
    still = tf.stop_gradient(x)
    # Multiplied by the factor, not divided by the scale, as TensorFlow's kernel does: ties fall the same way.
    rounded = tf.clip_by_value(tf.round(still * factor), -top - 1.0, float(top)) * scale
    return tf.stop_gradient(rounded) + (x - still)


class TaoWeightQuantizer(Quantizer):
    """TFMOT's interface to `quantize_kernel`; it keeps no state."""

    def build(self, tensor_shape: Any, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        return {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        return quantize_kernel(inputs)

    def get_config(self) -> dict[str, Any]:
        return {}


class TaoActivationQuantizer(Quantizer):
    """One symmetric range per tensor: while training the moving average of max|x|, with its present batch.

    The average is debiased: s_t = b_t / (1 - decay^t) with b_0 = 0, so the first batch sets the range, whatever it
    was before. On several devices it follows the mean of their max|x|.
    """

    def __init__(self, ema_decay: float = EMA_DECAY) -> None:
        self.ema_decay = ema_decay

    def build(self, tensor_shape: Any, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        start = {"min_var": -6.0, "max_var": 6.0, "biased": 0.0, "steps": 0.0}
        return {part: _variable(layer, f"{name}_{part}", value) for part, value in start.items()}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        if training:
            self._follow(tf.reduce_max(tf.abs(inputs)), weights)
        return quantize_activation(inputs, weights["max_var"])

    def _follow(self, peak: tf.Tensor, weights: Any) -> None:
        weights["steps"].assign_add(1.0)
        weights["biased"].assign_sub((weights["biased"] - peak) * (1 - self.ema_decay))
        # In float64: at small t the difference would cost float32 half of its digits.
        steps = tf.cast(weights["steps"], tf.float64)
        amax = weights["biased"] / tf.cast(1 - tf.constant(self.ema_decay, tf.float64) ** steps, tf.float32)
        weights["max_var"].assign(amax)
        weights["min_var"].assign(-amax)

    def get_config(self) -> dict[str, Any]:
        return {"ema_decay": self.ema_decay}


def _variable(layer: tf_keras.layers.Layer, name: str, value: float) -> tf.Variable:
    initializer = tf_keras.initializers.Constant(value)
    # Of what several devices assign, the mean.
    mean = tf.VariableAggregation.MEAN
    return layer.add_weight(name, shape=(), initializer=initializer, trainable=False, aggregation=mean)
