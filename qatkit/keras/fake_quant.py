"""Fake quantization in TensorFlow: obeys a `QuantizationPlan`, with TFMOT's wrappers around Keras layers.

Both quantizers are symmetric with the codes -127..127 and zero point 0, as TensorRT wants them: `scale = amax / 127`.
A plan with TAO's placement gets TAO's quantizers (`tao_quant`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tensorflow_model_optimization.python.core.quantization.keras.quant_ops import MovingAvgQuantize
from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import QuantizeConfig
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import MovingAverageQuantizer, Quantizer

from qatkit.choices import EMA_DECAY
from qatkit.errors import ModelError
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Node
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.tao_quant import TaoActivationQuantizer, TaoWeightQuantizer
from qatkit.quantization.folding import CODE_MAX
from qatkit.quantization.placement import QuantizationPlan

# Below this a scale is no normal float32 number; the codes of such a channel are 0 (as in `folding.weight_codes`).
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
_KERNELS = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel"}


class WeightQuantizer(Quantizer):
    """Per-output-channel quantization of a kernel with the range of its present values.

    TFMOT's LastValueQuantizer stores the range of the last training step and uses that in inference, so the codes
    would lag one update behind the weights that are exported. This one keeps no state. The gradient is 1.
    The codes are computed in float64, bit for bit as `folding.weight_codes` computes those that are exported.
    """

    def __init__(self, depthwise: bool = False) -> None:
        self.depthwise = depthwise

    def build(self, tensor_shape: Any, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        return {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        # The channel is the last axis of an HWIO kernel, the one before it of a depthwise kernel [h, w, channels, 1].
        axes = [0, 1, 3] if self.depthwise else [0, 1, 2]
        kernel = tf.cast(tf.stop_gradient(inputs), tf.float64)
        scale = tf.reduce_max(tf.abs(kernel), axis=axes, keepdims=True) / CODE_MAX
        dead = scale < _SMALLEST_SCALE
        codes = tf.round(tf.where(dead, tf.zeros_like(kernel), kernel) / tf.where(dead, tf.ones_like(scale), scale))
        rounded = tf.cast(codes, tf.float32) * tf.cast(scale, tf.float32)
        return rounded + (inputs - tf.stop_gradient(inputs))

    def get_config(self) -> dict[str, Any]:
        return {"depthwise": self.depthwise}


class ActivationQuantizer(MovingAverageQuantizer):
    """Per-tensor quantization; the range moves by EMA while training and stays still otherwise."""

    def __init__(self, ema_decay: float = EMA_DECAY) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=True, narrow_range=True)
        self.ema_decay = ema_decay

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Any, **kwargs: Any) -> tf.Tensor:
        rounded = MovingAvgQuantize(
            tf.stop_gradient(inputs),
            weights["min_var"],
            weights["max_var"],
            ema_decay=self.ema_decay,
            is_training=training,
            num_bits=8,
            symmetric=True,
            narrow_range=True,
        )
        return _straight_through(inputs, rounded, tf.convert_to_tensor(weights["max_var"]))

    def get_config(self) -> dict[str, Any]:
        return {"ema_decay": self.ema_decay}


@tf.custom_gradient
def _straight_through(inputs: tf.Tensor, rounded: tf.Tensor, amax: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """`rounded`, with the gradient 1 to `inputs` within the range and 0 beyond it.

    The same gradient as that of TensorFlow's own operation, which has no deterministic kernel for GPUs.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return tf.where(tf.abs(inputs) <= amax, upstream, tf.zeros_like(upstream)), None, None

    return tf.identity(rounded), gradient


class LayerQuantizeConfig(QuantizeConfig):
    """What TFMOT's wrapper quantizes of one layer: its kernel, its output, both or neither."""

    def __init__(self, kernel: str | None, weights: Quantizer | None, output: Quantizer | None) -> None:
        self._kernel = kernel
        self._weights = weights
        self._output = output

    def get_weights_and_quantizers(self, layer: tf_keras.layers.Layer) -> list[tuple[tf.Variable, Quantizer]]:
        return [(getattr(layer, self._kernel), self._weights)] if self._kernel else []

    def get_activations_and_quantizers(self, layer: tf_keras.layers.Layer) -> list[Any]:
        return []

    def set_quantize_weights(self, layer: tf_keras.layers.Layer, quantize_weights: list[tf.Tensor]) -> None:
        if self._kernel:
            setattr(layer, self._kernel, quantize_weights[0])

    def set_quantize_activations(self, layer: tf_keras.layers.Layer, quantize_activations: list[Any]) -> None:
        pass

    def get_output_quantizers(self, layer: tf_keras.layers.Layer) -> list[Quantizer]:
        return [self._output] if self._output else []

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self._kernel}


@dataclass
class QuantizedKerasGraph(KerasGraph):
    """A Keras model with fake quantization.

    range_variables: (min, max) of each quantized tensor. averages: what else the moving average of its range needs,
    by a name for the checkpoint; only TAO's needs something.
    """

    plan: QuantizationPlan
    range_variables: Mapping[str, tuple[tf.Variable, tf.Variable]]
    averages: Mapping[str, tf.Variable]

    def ranges(self) -> dict[str, float]:
        """Node name -> amax of its output tensor."""
        return {name: float(high.numpy()) for name, (_, high) in self.range_variables.items()}

    def state(self) -> dict[str, NDArray[Any]]:
        ranges = {f"range/{name}": np.array(amax, np.float32) for name, amax in self.ranges().items()}
        return {**super().state(), **ranges, **{name: value.numpy() for name, value in self.averages.items()}}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().restore(arrays)
        for name, variable in self.averages.items():
            variable.assign(arrays[name])
        self.set_ranges({name: float(arrays[f"range/{name}"]) for name in self.range_variables})

    def set_ranges(self, ranges: Mapping[str, float]) -> None:
        """Set the range of every quantized tensor.

        Raises ModelError when one is missing.
        """
        for name, (low, high) in self.range_variables.items():
            if name not in ranges:
                raise ModelError(f"layer {name}: its output is quantized, but the model file holds no range for it")
            low.assign(-ranges[name])
            high.assign(ranges[name])


def to_fake_quantized(
    graph: Graph, plan: QuantizationPlan, ranges: Mapping[str, float], ema_decay: float = EMA_DECAY
) -> QuantizedKerasGraph:
    """Build the Keras model of `graph` with fake quantization as `plan` says, starting from `ranges`.

    ranges: node name -> amax, for every node in `plan.activations`.
    Raises ModelError when the plan is for another network, or a range is missing.
    """
    plan.check(graph)
    as_tao = plan.placement == "tao"

    def output_quantizer(node: Node) -> Quantizer | None:
        if node.name not in plan.activations:
            return None
        return TaoActivationQuantizer(ema_decay) if as_tao else ActivationQuantizer(ema_decay)

    def wrap(node: Node, layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        kernel = _KERNELS[node.op] if node.name in plan.weights else None
        output = output_quantizer(node)
        if kernel is None and output is None:
            return layer
        weights = TaoWeightQuantizer() if as_tao else WeightQuantizer(node.op == "DepthwiseConv2D")
        return QuantizeWrapperV2(layer, LayerQuantizeConfig(kernel, weights, output))

    def wrap_input(node: Node, _: Any) -> tf_keras.layers.Layer:
        return QuantizeLayer(output_quantizer(node), name=f"{node.name}_quantize")

    plain = to_keras(graph, wrap, wrap_input)
    network = _with_ranges(plain, plan)
    network.set_ranges(ranges)
    return network


def _with_ranges(plain: KerasGraph, plan: QuantizationPlan) -> QuantizedKerasGraph:
    held = {name: _quantizer_variables(plain.layers[name]) for name in plan.activations}
    ranges = {name: (variables.pop("min_var"), variables.pop("max_var")) for name, variables in held.items()}
    averages = {
        f"average/{name}/{part}": variable for name, variables in held.items() for part, variable in variables.items()
    }
    return QuantizedKerasGraph(plain.graph, plain.model, plain.variables, plain.layers, plan, ranges, averages)


def _quantizer_variables(layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
    return dict(layer.quantizer_vars if isinstance(layer, QuantizeLayer) else layer._output_quantizer_vars)
