"""The network as data: a `Graph` is an ordered tuple of typed nodes plus NumPy weights by name.

Shapes are (height, width, channels); kernels are HWIO (depthwise: HWI1), as TensorFlow keeps them.
Every node has one output tensor, known by the node's name. Layer names are TAO's; a node that TAO hides inside
a layer is called `<layer>/<Op>`, as the tensor it makes in TAO's ONNX (`output_cov/Sigmoid`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qatkit.errors import ModelError

Shape = tuple[int, int, int]
Weights = Mapping[str, NDArray[np.float32]]
# Zeros added around an image: top, left, bottom, right (the order of ONNX `pads`).
Padding = tuple[int, int, int, int]
# Larger images or more channels than this exist only in damaged files.
_MAX_EXTENT = 1 << 20


@dataclass(frozen=True)
class Node:
    """One operation. `inputs` are the names of the nodes whose outputs it reads."""

    name: str
    inputs: tuple[str, ...]
    # The weight arrays this kind of node owns; array `part` is stored as `<node name>/<part>`.
    parts: ClassVar[tuple[str, ...]] = ()

    @property
    def op(self) -> str:
        return type(self).__name__

    def weight_names(self) -> tuple[str, ...]:
        """The keys of this node's arrays in `Graph.weights`."""
        return tuple(f"{self.name}/{part}" for part in self.parts)

    def weight_shapes(self, inputs: list[Shape]) -> dict[str, tuple[int, ...]]:
        """The shape that each of this node's arrays must have, given the shapes of its inputs."""
        return {}

    def output_shape(self, inputs: list[Shape]) -> Shape:
        """Shape of the output, given the shapes of the inputs; the first input's unless a node says otherwise."""
        return inputs[0]

    def macs(self, inputs: list[Shape]) -> int:
        """Multiply-adds for one image."""
        return 0


@dataclass(frozen=True)
class Input(Node):
    """The image, RGB or grey, scaled to 0..1."""

    shape: Shape = (0, 0, 3)

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return self.shape


@dataclass(frozen=True)
class _Window(Node):
    """A node that slides a window over the image."""

    kernel_size: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def _window_shape(self, shape: Shape, channels: int) -> Shape:
        top, left, bottom, right = self.padding
        sizes = []
        for size, pad, kernel, stride, dilation in zip(
            shape[:2], (top + bottom, left + right), self.kernel_size, self.strides, self.dilation
        ):
            sizes.append((size + pad - (kernel - 1) * dilation - 1) // stride + 1)
        return sizes[0], sizes[1], channels

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return self._window_shape(inputs[0], inputs[0][2])


@dataclass(frozen=True)
class Conv2D(_Window):
    """Convolution with an HWIO kernel."""

    filters: int = 1
    use_bias: bool = True

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("kernel", "bias") if self.use_bias else ("kernel",)

    def weight_shapes(self, inputs: list[Shape]) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"kernel": (*self.kernel_size, inputs[0][2], self.filters)}
        if self.use_bias:
            shapes["bias"] = (self.filters,)
        return shapes

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return self._window_shape(inputs[0], self.filters)

    def macs(self, inputs: list[Shape]) -> int:
        height, width, _ = self.output_shape(inputs)
        return height * width * self.filters * self.kernel_size[0] * self.kernel_size[1] * inputs[0][2]


@dataclass(frozen=True)
class DepthwiseConv2D(_Window):
    """Convolution of every channel by itself, kernel [kh, kw, channels, 1]."""

    use_bias: bool = False

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("kernel", "bias") if self.use_bias else ("kernel",)

    def weight_shapes(self, inputs: list[Shape]) -> dict[str, tuple[int, ...]]:
        channels = inputs[0][2]
        shapes: dict[str, tuple[int, ...]] = {"kernel": (*self.kernel_size, channels, 1)}
        if self.use_bias:
            shapes["bias"] = (channels,)
        return shapes

    def macs(self, inputs: list[Shape]) -> int:
        height, width, channels = self.output_shape(inputs)
        return height * width * channels * self.kernel_size[0] * self.kernel_size[1]


@dataclass(frozen=True)
class BatchNorm(Node):
    """(x - mean) * gamma / sqrt(variance + epsilon) + beta, per channel."""

    epsilon: float = 1e-3
    momentum: float = 0.99
    # TAO's `freeze_bn`: the stored statistics are used and kept while gamma and beta still train.
    frozen: bool = False
    parts: ClassVar[tuple[str, ...]] = ("gamma", "beta", "mean", "variance")

    def weight_shapes(self, inputs: list[Shape]) -> dict[str, tuple[int, ...]]:
        return {part: (inputs[0][2],) for part in self.parts}


@dataclass(frozen=True)
class Relu(Node):
    """max(x, 0)."""


@dataclass(frozen=True)
class Relu6(Node):
    """min(max(x, 0), 6)."""


@dataclass(frozen=True)
class LeakyRelu(Node):
    """x where x > 0, else alpha * x."""

    alpha: float = 0.1


@dataclass(frozen=True)
class Swish(Node):
    """x * sigmoid(x)."""


@dataclass(frozen=True)
class Sigmoid(Node):
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Add(Node):
    """Element-wise sum of its inputs."""


@dataclass(frozen=True)
class Multiply(Node):
    """Element-wise product of its inputs; an input of 1x1 pixels is spread over the image."""

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return max(inputs)


@dataclass(frozen=True)
class Concat(Node):
    """Joins its inputs along the channels."""

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return inputs[0][0], inputs[0][1], sum(shape[2] for shape in inputs)


@dataclass(frozen=True)
class MaxPool(_Window):
    """Maximum over a window; padding counts as zeros, as TAO's explicit padding does."""


@dataclass(frozen=True)
class AvgPool(_Window):
    """Mean over a window; padding counts as zeros."""


@dataclass(frozen=True)
class GlobalAvgPool(Node):
    """Mean over the image, kept as 1x1 pixels."""

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return 1, 1, inputs[0][2]


@dataclass(frozen=True)
class Pad(Node):
    """Zeros around the image."""

    padding: Padding = (0, 0, 0, 0)

    def output_shape(self, inputs: list[Shape]) -> Shape:
        top, left, bottom, right = self.padding
        return inputs[0][0] + top + bottom, inputs[0][1] + left + right, inputs[0][2]


@dataclass(frozen=True)
class Upsample(Node):
    """Nearest-neighbour enlargement by whole factors (height, width)."""

    factors: tuple[int, int] = (2, 2)

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return inputs[0][0] * self.factors[0], inputs[0][1] * self.factors[1], inputs[0][2]


NODE_TYPES: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (
        *(Input, Conv2D, DepthwiseConv2D, BatchNorm, Relu, Relu6, LeakyRelu, Swish, Sigmoid),
        *(Add, Multiply, Concat, MaxPool, AvgPool, GlobalAvgPool, Pad, Upsample),
    )
}
ACTIVATIONS = (Relu, Relu6, LeakyRelu, Swish, Sigmoid)
CONVOLUTIONS = (Conv2D, DepthwiseConv2D)


def node_attributes(node: Node) -> dict[str, Any]:
    """The fields of `node` besides its name and inputs."""
    return {item.name: getattr(node, item.name) for item in fields(node) if item.name not in ("name", "inputs")}


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, weights by `<node>/<part>`, and the names of the output nodes.

    Construction checks names, order, shapes and completeness of the weights and raises ModelError.
    """

    name: str
    nodes: tuple[Node, ...]
    weights: Weights
    outputs: tuple[str, ...]
    _shapes: dict[str, Shape] = field(init=False, repr=False, compare=False)
    _by_name: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            if node.name in shapes:
                raise ModelError(f"layer {node.name}: the name is used twice")
            missing = [name for name in node.inputs if name not in shapes]
            if missing:
                raise ModelError(f"layer {node.name}: its input {missing[0]} does not come before it")
            inputs = [shapes[name] for name in node.inputs]
            _check_arity(node)
            shapes[node.name] = _checked_shape(node, inputs)
            self._check_weights(node, inputs)
        for name in self.outputs:
            if name not in shapes:
                raise ModelError(f"output {name}: there is no such layer")
        object.__setattr__(self, "_shapes", shapes)
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})

    def _check_weights(self, node: Node, inputs: list[Shape]) -> None:
        for part, expected in node.weight_shapes(inputs).items():
            array = self.weights.get(f"{node.name}/{part}")
            found = "nothing" if array is None else f"{array.shape}"
            if array is None or array.shape != expected:
                raise ModelError(f"layer {node.name}: {part} should have the shape {expected}, found {found}")

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def shape(self, name: str) -> Shape:
        """(height, width, channels) of the output of node `name`."""
        return self._shapes[name]

    def input_shapes(self, node: Node) -> list[Shape]:
        """Shapes of what `node` reads."""
        return [self._shapes[name] for name in node.inputs]

    @property
    def input(self) -> Input:
        """The single input node."""
        return next(node for node in self.nodes if isinstance(node, Input))

    def consumers(self) -> dict[str, list[Node]]:
        """Node name -> the nodes that read its output, in graph order."""
        readers: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers

    def weight(self, node: str, part: str) -> NDArray[np.float32]:
        """The array `part` of node `node`."""
        return self.weights[f"{node}/{part}"]

    @property
    def params(self) -> int:
        """Number of weights, batch-norm statistics included (as Keras counts)."""
        return sum(int(array.size) for array in self.weights.values())

    @property
    def macs(self) -> int:
        """Multiply-adds of all convolutions for one image."""
        return sum(node.macs(self.input_shapes(node)) for node in self.nodes)

    @property
    def heads(self) -> frozenset[str]:
        """The output nodes and, where an output is an activation, the node that feeds it."""
        activations = [self[name] for name in self.outputs if isinstance(self[name], ACTIVATIONS)]
        return frozenset(self.outputs).union(name for node in activations for name in node.inputs)

    def with_weights(self, weights: Weights) -> Graph:
        """The same nodes with other weights."""
        return replace(self, weights=weights)


def _check_arity(node: Node) -> None:
    """An Input reads nothing, a joining node one tensor or more, every other node exactly one."""
    count = len(node.inputs)
    if isinstance(node, (Add, Multiply, Concat)):
        if count < 1:
            raise ModelError(f"layer {node.name}: {node.op} has no input")
    elif count != (0 if isinstance(node, Input) else 1):
        raise ModelError(f"layer {node.name}: {node.op} cannot have {count} inputs")


def _checked_shape(node: Node, inputs: list[Shape]) -> Shape:
    if isinstance(node, Add) and len(set(inputs)) != 1:
        raise ModelError(f"layer {node.name}: its inputs differ in shape: {inputs}")
    if isinstance(node, Concat) and len({shape[:2] for shape in inputs}) != 1:
        raise ModelError(f"layer {node.name}: its inputs differ in size: {inputs}")
    shape = node.output_shape(inputs)
    if min(shape) < 1:
        raise ModelError(f"layer {node.name}: nothing is left of its input, {shape}", hint="the image is too small")
    if max(shape) > _MAX_EXTENT:
        raise ModelError(f"layer {node.name}: its output has more than {_MAX_EXTENT} rows, columns or channels")
    return shape


def select_weights(weights: Weights, nodes: Iterable[Node]) -> dict[str, NDArray[np.float32]]:
    """The arrays that `nodes` own."""
    return {name: weights[name] for node in nodes for name in node.weight_names()}
