"""`Graph` -> `tf_keras.Model`, and the weights back.

The model is built by our own constructors, never from a file's own description of its layers. Inside it is NHWC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from qatkit.graph import nodes
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Node, Padding, Shape

layers = tf_keras.layers

# What a wrapper makes of the layer of a node: the layer itself, or the layer with fake quantization around it.
Wrap = Callable[[Node, tf_keras.layers.Layer], tf_keras.layers.Layer]


@dataclass
class KerasGraph:
    """A Keras model together with the graph it was built from.

    `model` maps images [B, H, W, C] in 0..1 to the graph's outputs in their order, NHWC. `variables` are the model's
    weights under the graph's names, whatever wraps them.
    """

    graph: Graph
    model: tf_keras.Model
    variables: Mapping[str, tf.Variable]
    layers: Mapping[str, tf_keras.layers.Layer] = field(repr=False)

    def read(self) -> Graph:
        """The graph with the model's present weights."""
        weights = {name: np.asarray(variable.numpy(), np.float32) for name, variable in self.variables.items()}
        return self.graph.with_weights(weights)

    def write(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the model's weights from a graph's."""
        for name, variable in self.variables.items():
            variable.assign(weights[name])

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that training changes in the model, for a checkpoint."""
        return {f"model/{name}": variable.numpy() for name, variable in self.variables.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from `state()`."""
        self.write({name: arrays[f"model/{name}"] for name in self.variables})


def to_keras(
    graph: Graph, wrap: Wrap | None = None, wrap_input: Wrap | None = None, *, policy: str = "float32"
) -> KerasGraph:
    """Build the Keras model of `graph` with its weights.

    `wrap` may put something around the layer of any node; `wrap_input` may return a layer to run behind the input.
    policy: Keras's precision policy (`mixed_bfloat16`) for all layers but the heads, which stay float32.
    """
    tensors: dict[str, Any] = {}
    built: dict[str, tf_keras.layers.Layer] = {}
    variables: dict[str, tf.Variable] = {}
    for node in graph.nodes:
        if isinstance(node, nodes.Input):
            tensors[node.name] = source = tf_keras.Input(node.shape, name=node.name)
            if wrap_input is not None:
                built[node.name] = layer = wrap_input(node, None)
                tensors[node.name] = layer(source)
            continue
        node_policy = "float32" if node.name in graph.heads else policy
        inputs = [_padded(node, graph, tensors[name], node_policy) for name in node.inputs]
        layer = _layer(node, graph.input_shapes(node), node_policy)
        merging = isinstance(node, nodes.Join)  # Keras wants a list there, also of a single tensor
        layer.build([tensor.shape for tensor in inputs] if merging else inputs[0].shape)
        variables.update(_variables(node, layer))
        built[node.name] = layer = wrap(node, layer) if wrap is not None else layer
        tensors[node.name] = layer(inputs if merging else inputs[0])
    model = tf_keras.Model(source, [tensors[name] for name in graph.outputs], name=graph.name)
    network = KerasGraph(graph, model, variables, built)
    network.write(graph.weights)
    return network


def _keras_name(name: str) -> str:
    return name.replace("/", "_")  # Keras makes variable scopes of slashes


def _padded(node: Node, graph: Graph, tensor: Any, policy: str) -> Any:
    """Explicit zeros in front of a window whose padding TensorFlow's "same" would place otherwise."""
    if _keras_padding(node, graph.input_shapes(node)) != "explicit":
        return tensor
    pads = _keras_pads(node.padding)  # type: ignore[attr-defined]
    return layers.ZeroPadding2D(pads, name=f"{_keras_name(node.name)}_padding", dtype=policy)(tensor)


def _keras_padding(node: Node, inputs: list[Shape]) -> str:
    """ "valid", "same", or "explicit" where neither gives the node's padding (stride 2 on an even size)."""
    padding: Padding | None = getattr(node, "padding", None)
    if padding is None or isinstance(node, nodes.Pad) or padding == (0, 0, 0, 0):
        return "valid"
    # TensorFlow's "same" pads a pooling window with nothing that counts; TAO pads with zeros that do.
    if isinstance(node, (nodes.MaxPool, nodes.AvgPool)):
        return "explicit"
    return "same" if padding == _same_padding(node, inputs[0]) else "explicit"


def _same_padding(node: Any, shape: Shape) -> Padding:
    before, after = [], []
    for size, kernel, stride, dilation in zip(shape[:2], node.kernel_size, node.strides, node.dilation):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before[0], before[1], after[0], after[1]


def _layer(node: Node, inputs: list[Shape], policy: str) -> tf_keras.layers.Layer:
    common: _Options = {"name": _keras_name(node.name), "dtype": policy}
    if isinstance(node, nodes.CONVOLUTIONS):
        common["padding"] = "same" if _keras_padding(node, inputs) == "same" else "valid"
        common |= {"strides": node.strides, "dilation_rate": node.dilation, "use_bias": node.use_bias}
    return _LAYERS[type(node)](node, common)


_Options = dict[str, Any]
_LAYERS: dict[type[Node], Callable[[Any, _Options], tf_keras.layers.Layer]] = {
    nodes.Conv2D: lambda node, options: layers.Conv2D(node.filters, node.kernel_size, **options),
    nodes.DepthwiseConv2D: lambda node, options: layers.DepthwiseConv2D(node.kernel_size, **options),
    # Not trainable: Keras then uses and keeps the statistics, whatever the phase. Gamma and beta learn nevertheless,
    # because `Stepper` chooses what is trained by itself.
    nodes.BatchNorm: lambda node, options: layers.BatchNormalization(
        momentum=node.momentum, epsilon=node.epsilon, trainable=not node.frozen, **options
    ),
    nodes.MaxPool: lambda node, options: layers.MaxPooling2D(node.kernel_size, node.strides, **options),
    nodes.AvgPool: lambda node, options: layers.AveragePooling2D(node.kernel_size, node.strides, **options),
    nodes.GlobalAvgPool: lambda node, options: layers.GlobalAveragePooling2D(keepdims=True, **options),
    nodes.Pad: lambda node, options: layers.ZeroPadding2D(_keras_pads(node.padding), **options),
    nodes.Upsample: lambda node, options: layers.UpSampling2D(node.factors, **options),
    nodes.Add: lambda node, options: layers.Add(**options),
    nodes.Multiply: lambda node, options: layers.Multiply(**options),
    nodes.Concat: lambda node, options: layers.Concatenate(**options),
    nodes.Relu: lambda node, options: layers.ReLU(**options),
    nodes.Relu6: lambda node, options: layers.ReLU(max_value=6.0, **options),
    nodes.LeakyRelu: lambda node, options: layers.LeakyReLU(node.alpha, **options),
    nodes.Swish: lambda node, options: layers.Activation("swish", **options),
    nodes.Sigmoid: lambda node, options: layers.Activation("sigmoid", **options),
}


def _keras_pads(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, bottom, right = padding
    return (top, bottom), (left, right)


def _variables(node: Node, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
    keras_names = {"mean": "moving_mean", "variance": "moving_variance"}
    if isinstance(node, nodes.DepthwiseConv2D):
        keras_names["kernel"] = "depthwise_kernel"
    return {f"{node.name}/{part}": getattr(layer, keras_names.get(part, part)) for part in node.parts}
