"""The description of a network inside a TAO file (Keras 2.2.4's `model_config` JSON) -> our nodes.

A reader of its own: nothing of Keras is called, a layer type that is not in its table is an error, and code in a
file (a Lambda layer) is never run. Quantization layers become facts about the network: a `QDQ` layer is passed and
remembered as "the output of this node is quantized", a `QuantizedConv2D` is a convolution with a quantized kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qatkit.errors import ModelError
from qatkit.graph import nodes
from qatkit.graph.builder import same_padding
from qatkit.graph.nodes import Node, Padding
from qatkit.model.node_json import checked_name, node_from_json, node_to_json

_NO_PADDING: Padding = (0, 0, 0, 0)
_MAX_LAYERS = 10_000


@dataclass(frozen=True)
class KerasNetwork:
    """A network without its weights.

    qdq: QDQ layer -> the node whose output it quantizes. quantized_inputs: convolution with a quantizer of its own
    -> the node it reads. quantized_kernels: convolutions with fake-quantized kernels.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    qdq: Mapping[str, str]
    quantized_inputs: Mapping[str, str]
    quantized_kernels: tuple[str, ...]


@dataclass(frozen=True)
class _Layer:
    """One entry of the description: `inputs` are names of our nodes."""

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    frozen: bool

    def fail(self, message: str) -> ModelError:
        return ModelError(f"layer {self.name} ({self.kind}): {message}")

    def pair(self, key: str) -> tuple[int, int]:
        value = self.config.get(key)
        if isinstance(value, int):
            return value, value
        if isinstance(value, list) and len(value) == 2 and all(isinstance(item, int) for item in value):
            return value[0], value[1]
        raise self.fail(f"{key} should be two numbers, found {str(value)[:40]}")


def read_network(description: Any) -> KerasNetwork:
    """`description` is the parsed JSON. Raises ModelError for what is no network of known layers."""
    try:
        return _Reader().read(description)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the description of the network is damaged: {type(error).__name__} {error}") from error


class _Reader:
    """Collects nodes, and for every layer the name of the node that carries its output."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.channels_first = True
        self.carriers: dict[str, str] = {}
        self.qdq: dict[str, str] = {}
        self.quantized_inputs: dict[str, str] = {}
        self.quantized_kernels: list[str] = []

    def read(self, description: Any) -> KerasNetwork:
        if description["class_name"] not in ("Model", "Functional"):
            raise ModelError(f"a {str(description['class_name'])[:40]} is not a network that can be read")
        config = description["config"]
        if len(config["layers"]) > _MAX_LAYERS:
            raise ModelError(f"the network has {len(config['layers'])} layers, more than any that can be read")
        formats = {entry["config"].get("data_format") for entry in config["layers"]} - {None}
        self.channels_first = formats <= {"channels_first"}
        for entry in config["layers"]:
            layer = self._layer(entry)
            handler = _HANDLERS.get(layer.kind)
            if handler is None:
                raise layer.fail("layers of this type cannot be read")
            self.carriers[layer.name] = handler(self, layer)
        outputs = tuple(self.carriers[name] for name, _, _ in config["output_layers"])
        return KerasNetwork(
            name=checked_name(config["name"]),
            nodes=tuple(self.nodes.values()),
            outputs=outputs,
            qdq=self.qdq,
            quantized_inputs=self.quantized_inputs,
            quantized_kernels=tuple(self.quantized_kernels),
        )

    def _layer(self, entry: Any) -> _Layer:
        name = checked_name(entry["name"])
        calls = entry["inbound_nodes"]
        if len(calls) > 1:
            raise ModelError(f"layer {name}: it is used {len(calls)} times; shared layers cannot be read")
        sources = calls[0] if calls else []
        inputs = tuple(self.carriers[source[0]] for source in sources)
        # freeze_bn: the layer was called with training=False.
        frozen = any(len(source) > 3 and source[3].get("training") is False for source in sources)
        return _Layer(name, str(entry["class_name"]), entry["config"], inputs, frozen)

    def add(self, node: Node) -> str:
        # The round trip applies the bounds and types that hold for nodes from any file.
        self.nodes[node.name] = node_from_json(node_to_json(node))
        return node.name

    def _input(self, layer: _Layer) -> str:
        first, second, third = layer.config["batch_input_shape"][1:]
        shape = (second, third, first) if self.channels_first else (first, second, third)
        if not all(isinstance(size, int) for size in shape):
            raise layer.fail(f"the size of the images is not fixed: {layer.config['batch_input_shape']}")
        return self.add(nodes.Input(layer.name, (), shape=shape))

    def _conv(self, layer: _Layer) -> str:
        config = layer.config
        node = nodes.Conv2D(
            layer.name, layer.inputs, **_window(layer), filters=config["filters"], use_bias=config["use_bias"]
        )
        return self._with_activation(layer, self.add(node))

    def _depthwise(self, layer: _Layer) -> str:
        if layer.config.get("depth_multiplier", 1) != 1:
            raise layer.fail("only depth_multiplier 1 can be read")
        if layer.config["padding"] == "same" and layer.pair("strides") != (1, 1):
            # TAO pads these as TensorFlow does, on one side; its own networks use a padding layer instead.
            raise layer.fail("same padding with a stride cannot be read")
        node = nodes.DepthwiseConv2D(layer.name, layer.inputs, **_window(layer), use_bias=layer.config["use_bias"])
        return self._with_activation(layer, self.add(node))

    def _quantized(self, layer: _Layer) -> str:
        self.quantized_kernels.append(layer.name)
        if layer.config.get("quantize"):
            self.quantized_inputs[layer.name] = layer.inputs[0]
        return self._depthwise(layer) if "Depthwise" in layer.kind else self._conv(layer)

    def _batch_norm(self, layer: _Layer) -> str:
        config = layer.config
        self._check_axis(layer)
        if not (config["center"] and config["scale"]):
            raise layer.fail("only batch normalization with gamma and beta can be read")
        epsilon, momentum = config["epsilon"], config["momentum"]
        node = nodes.BatchNorm(layer.name, layer.inputs, epsilon=epsilon, momentum=momentum, frozen=layer.frozen)
        return self.add(node)

    def _check_axis(self, layer: _Layer) -> None:
        if layer.config["axis"] not in ((1,) if self.channels_first else (3, -1)):
            raise layer.fail(f"axis {layer.config['axis']} is not the channels")

    def _activation(self, layer: _Layer) -> str:
        if layer.config["activation"] == "linear":
            return layer.inputs[0]
        return self.add(self._activation_kind(layer)(layer.name, layer.inputs))

    def _with_activation(self, layer: _Layer, conv: str) -> str:
        """The activation inside a convolution becomes a node called as TAO's ONNX calls its tensor."""
        if layer.config.get("activation", "linear") == "linear":
            return conv
        kind = self._activation_kind(layer)
        return self.add(kind(f"{conv}/{kind.__name__}", (conv,)))

    def _activation_kind(self, layer: _Layer) -> type[Node]:
        name = layer.config["activation"]
        kind = _ACTIVATIONS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise layer.fail(f"the activation {str(name)[:40]} cannot be read")
        return kind

    def _relu(self, layer: _Layer) -> str:
        config = layer.config
        if config.get("threshold"):
            raise layer.fail(f"threshold {config['threshold']} cannot be read")
        limit, slope = config.get("max_value"), config.get("negative_slope") or 0.0
        if slope and limit is None:
            return self.add(nodes.LeakyRelu(layer.name, layer.inputs, alpha=float(slope)))
        if slope or limit not in (None, 6):
            raise layer.fail(f"max_value {limit} with slope {slope} cannot be read")
        kind = nodes.Relu if limit is None else nodes.Relu6
        return self.add(kind(layer.name, layer.inputs))

    def _leaky(self, layer: _Layer) -> str:
        return self.add(nodes.LeakyRelu(layer.name, layer.inputs, alpha=float(layer.config["alpha"])))

    def _joining(self, layer: _Layer) -> str:
        kind: type[Node] = {"Add": nodes.Add, "Multiply": nodes.Multiply, "Concatenate": nodes.Concat}[layer.kind]
        if kind is nodes.Concat:
            self._check_axis(layer)
        return self.add(kind(layer.name, layer.inputs))

    def _pool(self, layer: _Layer) -> str:
        kind = nodes.MaxPool if layer.kind.startswith("Max") else nodes.AvgPool
        return self.add(kind(layer.name, layer.inputs, **_pool_window(layer)))

    def _global_pool(self, layer: _Layer) -> str:
        return self.add(nodes.GlobalAvgPool(layer.name, layer.inputs))

    def _reshape(self, layer: _Layer) -> str:
        """Only the one that makes a 1x1 image of what GlobalAveragePooling2D left: our node keeps it one."""
        shape = layer.config["target_shape"]
        pooled = isinstance(self.nodes[layer.inputs[0]], nodes.GlobalAvgPool)
        if not pooled or len(shape) != 3 or shape.count(1) < 2:
            raise layer.fail(f"reshaping to {str(shape)[:40]} cannot be read")
        return self._passed(layer)

    def _pad(self, layer: _Layer) -> str:
        (top, bottom), (left, right) = layer.config["padding"]
        return self.add(nodes.Pad(layer.name, layer.inputs, padding=(top, left, bottom, right)))

    def _upsample(self, layer: _Layer) -> str:
        if layer.config.get("interpolation", "nearest") != "nearest":
            raise layer.fail("only nearest-neighbour enlargement can be read")
        return self.add(nodes.Upsample(layer.name, layer.inputs, factors=layer.pair("size")))

    def _passed(self, layer: _Layer) -> str:
        """A layer that does nothing in inference."""
        return layer.inputs[0]

    def _qdq(self, layer: _Layer) -> str:
        if layer.config.get("bitwidth", 8) != 8:
            raise layer.fail(f"{layer.config['bitwidth']} bits cannot be read, only 8")
        (carrier,) = layer.inputs
        if carrier in self.qdq.values():
            # Behind a Dropout the same tensor is quantized once more, with a range of its own.
            carrier = self.add(nodes.Concat(layer.name, (carrier,)))
        self.qdq[layer.name] = carrier
        return carrier


def _window(layer: _Layer) -> dict[str, Any]:
    """Kernel, strides and TAO's symmetric padding of a convolution."""
    kernel, dilation = layer.pair("kernel_size"), layer.pair("dilation_rate")
    padding = _NO_PADDING
    if layer.config["padding"] == "same":
        (top, *_), (left, *_) = (same_padding(size, rate) for size, rate in zip(kernel, dilation))
        padding = (top, left, top, left)
    elif layer.config["padding"] != "valid":
        raise layer.fail(f"padding {str(layer.config['padding'])[:40]} cannot be read")
    return {"kernel_size": kernel, "strides": layer.pair("strides"), "padding": padding, "dilation": dilation}


def _pool_window(layer: _Layer) -> dict[str, Any]:
    """Window of a pooling layer; TAO's "same" adds (size - 1) // 2 zeros on every side."""
    height, width = size = layer.pair("pool_size")
    padding = _NO_PADDING
    if layer.config["padding"] == "same":
        padding = ((height - 1) // 2, (width - 1) // 2) * 2
    return {"kernel_size": size, "strides": layer.pair("strides"), "padding": padding}


_ACTIVATIONS: dict[str, type[Node]] = {
    "relu": nodes.Relu,
    "relu6": nodes.Relu6,
    "sigmoid": nodes.Sigmoid,
    "swish": nodes.Swish,
}
_HANDLERS: dict[str, Callable[[_Reader, _Layer], str]] = {
    "InputLayer": _Reader._input,
    "Conv2D": _Reader._conv,
    "DepthwiseConv2D": _Reader._depthwise,
    "QuantizedConv2D": _Reader._quantized,
    "QuantizedDepthwiseConv2D": _Reader._quantized,
    "BatchNormalization": _Reader._batch_norm,
    "Activation": _Reader._activation,
    "ReLU": _Reader._relu,
    "LeakyReLU": _Reader._leaky,
    "Add": _Reader._joining,
    "Multiply": _Reader._joining,
    "Concatenate": _Reader._joining,
    "MaxPooling2D": _Reader._pool,
    "AveragePooling2D": _Reader._pool,
    "GlobalAveragePooling2D": _Reader._global_pool,
    "Reshape": _Reader._reshape,
    "ZeroPadding2D": _Reader._pad,
    "UpSampling2D": _Reader._upsample,
    "Dropout": _Reader._passed,
    "QDQ": _Reader._qdq,
}
