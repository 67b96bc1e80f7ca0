"""The operations of a network as data, each with what is true of all of its kind (its traits).

Shapes are (height, width, channels); kernels are HWIO (depthwise: HWI1), as TensorFlow keeps them.
Every node has one output tensor, known by the node's name. Layer names are TAO's; a node that TAO hides inside
a layer is called `<layer>/<Op>`, as the tensor it makes in TAO's ONNX (`output_cov/Sigmoid`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Shape = tuple[int, int, int]
# Zeros added around an image: top, left, bottom, right (the order of ONNX `pads`).
Padding = tuple[int, int, int, int]
# What an operation does with INT8 codes. "moves": it moves codes or chooses among them and zeros, so that its output
# has exactly its input's range. "joins": puts tensors side by side, which commutes with rounding. "computes": sums or
# multiplies in a kernel of its own. "weighs": multiplies by weights. "float": it reads no codes, unless it is fused.
Int8Role = Literal["float", "moves", "joins", "computes", "weighs"]
# Which values can be below zero: "any", none where those of the inputs cannot ("kept"), or "none".
Negative = Literal["any", "kept", "none"]


@dataclass(frozen=True)
class Node:
    """One operation. `inputs` are the names of the nodes whose outputs it reads.

    Without further traits it works on every channel by itself, keeps the size, and computes in floating point.
    """

    name: str
    inputs: tuple[str, ...]
    # The traits of a kind, given where its class is defined.
    onnx_op: ClassVar[str]
    tf_op: ClassVar[str]
    int8: ClassVar[Int8Role]
    negative: ClassVar[Negative]
    # The weight arrays this kind of node owns; array `part` is stored as `<node name>/<part>`.
    parts: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls, *, onnx_op: str = "", tf_op: str = "", int8: Int8Role = "float", negative: Negative = "any"
    ) -> None:
        """onnx_op: the ONNX operation that it is written as, which has the same traits; "" for none or several.

        tf_op: what TensorFlow 1 calls it inside the Keras layer, as TAO's tensors do; "" for the name of the class.
        """
        super().__init_subclass__()
        cls.onnx_op, cls.tf_op, cls.int8, cls.negative = onnx_op, tf_op, int8, negative

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

    @classmethod
    def non_negative(cls, inputs: Iterable[bool]) -> bool:
        """Whether no value of the output can be below zero. inputs: the same of what it reads."""
        return cls.negative == "none" or (cls.negative == "kept" and all(inputs))


@dataclass(frozen=True)
class Input(Node, negative="none"):
    """The image, RGB or grey, scaled to 0..1."""

    shape: Shape = (0, 0, 3)

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return self.shape


@dataclass(frozen=True)
class Window(Node):
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
class Conv2D(Window, onnx_op="Conv", int8="weighs"):
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
class DepthwiseConv2D(Window, onnx_op="Conv", int8="weighs"):
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
class BatchNorm(Node, onnx_op="BatchNormalization", tf_op="batchnorm/add_1", int8="weighs"):
    """(x - mean) * gamma / sqrt(variance + epsilon) + beta, per channel."""

    epsilon: float = 1e-3
    momentum: float = 0.99
    # TAO's `freeze_bn`: the stored statistics are used and kept while gamma and beta still train.
    frozen: bool = False
    parts: ClassVar[tuple[str, ...]] = ("gamma", "beta", "mean", "variance")

    def weight_shapes(self, inputs: list[Shape]) -> dict[str, tuple[int, ...]]:
        return {part: (inputs[0][2],) for part in self.parts}


@dataclass(frozen=True)
class Activation(Node):
    """A function of single values. The kernel of a convolution or a sum before it takes it in."""


@dataclass(frozen=True)
class Relu(Activation, onnx_op="Relu", negative="none"):
    """max(x, 0)."""


@dataclass(frozen=True)
class Relu6(Activation, onnx_op="Clip", negative="none"):
    """min(max(x, 0), 6)."""


@dataclass(frozen=True)
class LeakyRelu(Activation, onnx_op="LeakyRelu"):
    """x where x > 0, else alpha * x."""

    alpha: float = 0.1


@dataclass(frozen=True)
class Swish(Activation, tf_op="mul"):
    """x * sigmoid(x)."""


@dataclass(frozen=True)
class Sigmoid(Activation, onnx_op="Sigmoid", negative="none"):
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Join(Node):
    """An operation on one tensor or more."""


@dataclass(frozen=True)
class Add(Join, onnx_op="Add", int8="computes", negative="kept"):
    """Element-wise sum of its inputs."""


@dataclass(frozen=True)
class Multiply(Join, onnx_op="Mul", tf_op="mul", int8="computes", negative="kept"):
    """Element-wise product of its inputs; an input of 1x1 pixels is spread over the image."""

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return max(inputs)


@dataclass(frozen=True)
class Concat(Join, onnx_op="Concat", tf_op="concat", int8="joins", negative="kept"):
    """Joins its inputs along the channels."""

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return inputs[0][0], inputs[0][1], sum(shape[2] for shape in inputs)


@dataclass(frozen=True)
class MaxPool(Window, onnx_op="MaxPool", int8="moves", negative="kept"):
    """Maximum over a window; padding counts as zeros, as TAO's explicit padding does."""


@dataclass(frozen=True)
class AvgPool(Window, onnx_op="AveragePool", int8="computes", negative="kept"):
    """Mean over a window; padding counts as zeros."""


@dataclass(frozen=True)
class GlobalAvgPool(Node, onnx_op="GlobalAveragePool", tf_op="Mean", int8="computes", negative="kept"):
    """Mean over the image, kept as 1x1 pixels."""

    def output_shape(self, inputs: list[Shape]) -> Shape:
        return 1, 1, inputs[0][2]


@dataclass(frozen=True)
class Pad(Node, onnx_op="Pad", int8="moves", negative="kept"):
    """Zeros around the image."""

    padding: Padding = (0, 0, 0, 0)

    def output_shape(self, inputs: list[Shape]) -> Shape:
        top, left, bottom, right = self.padding
        return inputs[0][0] + top + bottom, inputs[0][1] + left + right, inputs[0][2]


@dataclass(frozen=True)
class Upsample(Node, onnx_op="Resize", tf_op="ResizeNearestNeighbor", int8="moves", negative="kept"):
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
CONVOLUTIONS = (Conv2D, DepthwiseConv2D)
_BY_ONNX_OP = {kind.onnx_op: kind for kind in NODE_TYPES.values() if kind.onnx_op}


def kind_of(onnx_op: str) -> type[Node] | None:
    """The kind of node that is written as ONNX operation `onnx_op`, of several one: their traits are the same."""
    return _BY_ONNX_OP.get(onnx_op)


def node_attributes(node: Node) -> dict[str, Any]:
    """The fields of `node` besides its name and inputs."""
    return {item.name: getattr(node, item.name) for item in fields(node) if item.name not in ("name", "inputs")}
