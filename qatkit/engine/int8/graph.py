"""An ONNX file as a small read-only graph: operations in order, constants as arrays, who makes and who reads what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from qatkit.errors import ModelError
from qatkit.graph.links import Links
from qatkit.graph.nodes import Activation, BatchNorm, Input, Int8Role, Join, Node, Window, kind_of


@dataclass(frozen=True)
class Op:
    """One operation. inputs and outputs are tensor names; an omitted input is ""."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(hash=False)
    domain: str = ""

    @property
    def output(self) -> str:
        """The first output; of nearly all operations the only one."""
        return self.outputs[0]

    @property
    def node_kind(self) -> type[Node] | None:
        """The kind of node that is written so; None for an operation that this exporter never writes."""
        return kind_of(self.kind)

    @property
    def int8(self) -> Int8Role:
        """What it does with INT8 codes."""
        return "float" if self.node_kind is None else self.node_kind.int8

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)


@dataclass(frozen=True)
class OnnxGraph:
    """ops: in topological order. constants: tensor name -> value. input, outputs: tensor names.

    image: (channels, height, width) of the input; a dimension that the file leaves open is 0.
    """

    ops: tuple[Op, ...]
    constants: dict[str, NDArray[Any]]
    input: str
    outputs: tuple[str, ...]
    image: tuple[int, int, int]
    opset: int
    _maker: dict[str, Op] = field(init=False, repr=False)
    _readers: dict[str, list[Op]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_maker", {name: op for op in self.ops for name in op.outputs})
        readers: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in op.inputs:
                readers.setdefault(name, []).append(op)
        object.__setattr__(self, "_readers", readers)

    def maker(self, tensor: str) -> Op | None:
        """The operation that makes `tensor`; None for the input and for constants."""
        return self._maker.get(tensor)

    def readers(self, tensor: str) -> Sequence[Op]:
        return self._readers.get(tensor, ())

    def sole_reader(self, tensor: str) -> Op | None:
        """The one operation that reads `tensor`, when there is exactly one and it is no output of the network."""
        made = self.links.sole_reader(tensor)
        return None if made is None else self.maker(made)

    @cached_property
    def links(self) -> Links:
        """What reads what, as fusion sees it."""
        inputs = {self.input: (), **{name: op.inputs for op in self.ops for name in op.outputs}}
        kinds = {name: op.node_kind for op in self.ops for name in op.outputs}
        return Links({self.input: Input, **kinds}, inputs, self.outputs)

    @property
    def tensors(self) -> set[str]:
        """The input and every tensor that an operation makes."""
        return {self.input, *self._maker}


def parse(model: onnx.ModelProto) -> OnnxGraph:
    """The graph of `model`; Constant nodes become constants, Identity and inference-time Dropout disappear.

    Raises ModelError for a network with several inputs.
    """
    body = model.graph
    constants = {item.name: numpy_helper.to_array(item) for item in body.initializer}
    inputs = [item for item in body.input if item.name not in constants]
    if len(inputs) != 1:
        raise ModelError(f"the ONNX has {len(inputs)} inputs, expected one, the image")
    outputs = tuple(item.name for item in body.output)
    alias: dict[str, str] = {}
    ops = []
    for node in body.node:
        sources = tuple(alias.get(name, name) for name in node.input)
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
        elif node.op_type in ("Identity", "Dropout") and node.output[0] not in outputs:
            alias[node.output[0]] = sources[0]
        else:
            ops.append(Op(node.op_type, sources, tuple(node.output), attributes, node.domain))
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    return OnnxGraph(tuple(ops), constants, inputs[0].name, outputs, _image_shape(inputs[0]), opset)


def _image_shape(value: onnx.ValueInfoProto) -> tuple[int, int, int]:
    dimensions = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    if len(dimensions) != 4:
        raise ModelError(f"the input {value.name} has {len(dimensions)} dimensions, expected N, C, H, W")
    return dimensions[1], dimensions[2], dimensions[3]


def non_negative(graph: OnnxGraph, tensor: str) -> bool:
    """Whether no value of `tensor` can be below zero; the image is taken to be in 0..1."""
    if tensor == graph.input:
        return True
    op = graph.maker(tensor)
    if op is None:
        constant = graph.constants.get(tensor)
        return constant is not None and bool((constant >= 0).all())
    if op.kind == "Clip":
        low = clip_bounds(graph, op)[0]
        return low is not None and low >= 0
    kind = op.node_kind
    if kind is None:
        return False
    images = op.inputs if issubclass(kind, Join) else op.inputs[:1]  # behind it sizes and the like
    return kind.non_negative(non_negative(graph, source) for source in images)


def clip_bounds(graph: OnnxGraph, op: Op) -> tuple[float | None, float | None]:
    """Lower and upper bound of a Clip, None where there is none or it is computed."""
    if graph.opset < 11:
        return op.attributes.get("min"), op.attributes.get("max")
    bounds = [graph.constants.get(name) for name in (*op.inputs[1:], "", "")[:2]]
    low, high = (None if bound is None else float(np.reshape(bound, ())) for bound in bounds)
    return low, high


Size = tuple[int, int]


def sizes(graph: OnnxGraph) -> dict[str, Size]:
    """Tensor -> its rows and columns where the file fixes those of the image; not behind every kind of operation."""
    found: dict[str, Size] = {graph.input: graph.image[1:]} if min(graph.image[1:]) > 0 else {}
    for op in graph.ops:
        images = [name for name in op.inputs if name and name not in graph.constants]
        if all(name in found for name in images) and (size := _size_of(graph, op, [found[name] for name in images])):
            found[op.output] = size
    return found


def _size_of(graph: OnnxGraph, op: Op, inputs: Sequence[Size]) -> Size | None:
    """Rows and columns of what `op` makes of images of the sizes `inputs`; None for what is not known here."""
    if not inputs:
        return None
    kind = op.node_kind
    if kind is None:
        return None
    if issubclass(kind, Window) and op.get("auto_pad", b"NOTSET") == b"NOTSET" and not op.get("ceil_mode", 0):
        return _windows_in(graph, op, inputs[0])
    if issubclass(kind, (Activation, Join, BatchNorm)):
        return max(inputs)  # of others, such as a gate per channel, every value meets many
    if op.kind == "GlobalAveragePool":
        return 1, 1
    rows, columns = inputs[0]
    if op.kind == "Pad" and len(amounts := _constant(graph, op, 1)) == 8:  # begins, then ends, of four axes
        return rows + int(amounts[2] + amounts[6]), columns + int(amounts[3] + amounts[7])
    if op.kind == "Resize" and len(scales := _constant(graph, op, 2)) == 4:
        return int(rows * scales[2]), int(columns * scales[3])
    return None


def _constant(graph: OnnxGraph, op: Op, index: int) -> NDArray[Any]:
    """Input `index` of `op` as a vector; empty where it is left out or computed."""
    name = op.inputs[index] if len(op.inputs) > index else ""
    return np.ravel(graph.constants.get(name, []))


def _windows_in(graph: OnnxGraph, op: Op, size: Size) -> Size:
    """Source of the formula: ONNX's Conv, floor((size + pads - dilated kernel) / stride) + 1."""
    kernel = graph.constants[op.inputs[1]].shape[2:] if op.kind == "Conv" else op.get("kernel_shape", [1, 1])
    strides, dilations = op.get("strides", [1, 1]), op.get("dilations", [1, 1])
    pads = op.get("pads", [0, 0, 0, 0])
    rows, columns = (
        (size[axis] + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilations[axis] - 1) // strides[axis] + 1
        for axis in (0, 1)
    )
    return rows, columns
