"""Graph -> ONNX: NCHW, batch symbolic until one is fixed, every padding explicit, opset 13 (TensorRT 8 reads it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import qatkit
from qatkit.errors import ModelError
from qatkit.export.deployed import Deployed
from qatkit.export.metadata import Metadata
from qatkit.graph import nodes as n
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Node, Shape

OPSET = 13
# Opset 13 came with IR version 7; TensorRT 8.0 reads it.
_IR_VERSION = 7
_ANY_BATCH = "N"


class OnnxWriter:
    """Collects the operations and constants of one network."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self.graph: Graph = deployed.graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def write(self) -> None:
        """Write every node of the network."""
        for node in self.graph.nodes:
            if not isinstance(node, n.Input):
                write: Callable[[OnnxWriter, Any], None] = _WRITERS.get(type(node), _plain)
                write(self, node)
            self.finish(node)

    def finish(self, node: Node) -> None:
        """Called after `node` was written."""

    def source(self, name: str) -> str:
        """The ONNX tensor that a reader of node `name` reads."""
        return self.deployed.tensors[name]

    def sources(self, node: Node) -> list[str]:
        return [self.source(name) for name in node.inputs]

    def target(self, node: Node) -> str:
        """The ONNX tensor that `node` makes."""
        return self.deployed.tensors[node.name]

    def kernel(self, node: Node) -> str:
        """The ONNX tensor with the kernel of convolution `node`, O I kh kw."""
        return self.constant(f"{node.name}/kernel:0", kernel_to_onnx(node, self.graph.weight(node.name, "kernel")))

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def op(self, kind: str, inputs: list[str], output: str, *, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output


def kernel_to_onnx(node: Node, kernel: NDArray[Any]) -> NDArray[Any]:
    """HWIO (depthwise: HWC1) -> OIHW (depthwise: C1HW)."""
    return kernel.transpose((2, 3, 0, 1) if isinstance(node, n.DepthwiseConv2D) else (3, 2, 0, 1))


def build_model(writer: OnnxWriter, metadata: Metadata) -> onnx.ModelProto:
    """The checked ONNX model of the network that `writer` holds. Raises ModelError when the checker refuses it."""
    writer.write()
    graph = writer.graph
    outputs = [_value_info(writer.deployed.tensors[name], graph.shape(name)) for name in graph.outputs]
    body = helper.make_graph(
        writer.nodes,
        graph.name,
        [_value_info(writer.deployed.tensors[graph.input.name], graph.input.shape)],
        outputs,
        list(writer.constants.values()),
    )
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="qatkit",
        producer_version=qatkit.__version__,
    )
    metadata.write(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{graph.name}: cannot be written as ONNX: {error}") from error
    return model


def to_onnx(deployed: Deployed, metadata: Metadata) -> onnx.ModelProto:
    """The float network as ONNX."""
    return build_model(OnnxWriter(deployed), metadata)


def with_batch(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """A copy of a written `model` that takes exactly `size` images at once; 0 = any number."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for value in (*copied.graph.input, *copied.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        if size:
            batch.dim_value = size
        else:
            batch.dim_param = _ANY_BATCH
    return copied


def _value_info(name: str, shape: Shape) -> onnx.ValueInfoProto:
    height, width, channels = shape
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [_ANY_BATCH, channels, height, width])


def _plain(writer: OnnxWriter, node: Node, *more: str, **attributes: Any) -> None:
    """One operation on what the node reads and on the tensors `more`."""
    writer.op(node.onnx_op, [*writer.sources(node), *more], writer.target(node), name=node.name, **attributes)


def _convolution(writer: OnnxWriter, node: Any) -> None:
    weights = [writer.kernel(node)]
    if node.use_bias:
        weights.append(writer.constant(f"{node.name}/bias:0", writer.graph.weight(node.name, "bias")))
    group = writer.graph.input_shapes(node)[0][2] if isinstance(node, n.DepthwiseConv2D) else 1
    _plain(writer, node, *weights, **_window(node), dilations=node.dilation, group=group)


def _window(node: Any) -> dict[str, Any]:
    return {"kernel_shape": node.kernel_size, "strides": node.strides, "pads": node.padding}


def _batch_norm(writer: OnnxWriter, node: Any) -> None:
    parts = [
        writer.constant(f"{node.name}/{part}:0", writer.graph.weight(node.name, part)) for part in n.BatchNorm.parts
    ]
    _plain(writer, node, *parts, epsilon=node.epsilon)


def _relu6(writer: OnnxWriter, node: Node) -> None:
    low, high = (writer.constant(f"clip/{value}:0", np.float32(value)) for value in (0, 6))
    _plain(writer, node, low, high)


def _swish(writer: OnnxWriter, node: Node) -> None:
    (source,) = writer.sources(node)
    gate = writer.op("Sigmoid", [source], f"{node.name}/gate:0", name=f"{node.name}/gate")
    writer.op("Mul", [source, gate], writer.target(node), name=node.name)


def _chain(writer: OnnxWriter, node: Node) -> None:
    """Binary operations over any number of inputs, from the left."""
    total, *rest = writer.sources(node)
    for number, source in enumerate(rest):
        last = number == len(rest) - 1
        output = writer.target(node) if last else f"{node.name}/partial_{number}:0"
        total = writer.op(node.onnx_op, [total, source], output, name=node.name if last else f"{node.name}/{number}")


def _max_pool(writer: OnnxWriter, node: Any) -> None:
    """ONNX pads a max-pool with minus infinity, TAO with zeros: the same where nothing is negative."""
    (source,) = writer.sources(node)
    window = _window(node)
    if any(node.padding) and not writer.graph.non_negative(node.inputs[0]):
        source = _zeros_around(writer, source, node.padding, f"{node.name}/Pad:0", f"{node.name}/Pad")
        window["pads"] = (0, 0, 0, 0)
    writer.op("MaxPool", [source], writer.target(node), name=node.name, **window)


def _pad(writer: OnnxWriter, node: Any) -> None:
    _zeros_around(writer, writer.source(node.inputs[0]), node.padding, writer.target(node), node.name)


def _zeros_around(writer: OnnxWriter, source: str, padding: n.Padding, output: str, name: str) -> str:
    top, left, bottom, right = padding
    pads = writer.constant(f"{name}/pads:0", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return writer.op("Pad", [source, pads], output, name=name, mode="constant")


def _upsample(writer: OnnxWriter, node: Any) -> None:
    scales = writer.constant(f"{node.name}/scales:0", np.array([1, 1, *node.factors], np.float32))
    rule = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    _plain(writer, node, "", scales, mode="nearest", **rule)


# The others are one ONNX operation without attributes.
_WRITERS: dict[type[Node], Callable[[OnnxWriter, Any], None]] = {
    n.Conv2D: _convolution,
    n.DepthwiseConv2D: _convolution,
    n.BatchNorm: _batch_norm,
    n.Relu6: _relu6,
    n.LeakyRelu: lambda writer, node: _plain(writer, node, alpha=node.alpha),
    n.Swish: _swish,
    n.Add: _chain,
    n.Multiply: _chain,
    n.Concat: lambda writer, node: _plain(writer, node, axis=1),
    n.MaxPool: _max_pool,
    n.AvgPool: lambda writer, node: _plain(writer, node, count_include_pad=1, **_window(node)),
    n.Pad: _pad,
    n.Upsample: _upsample,
}
