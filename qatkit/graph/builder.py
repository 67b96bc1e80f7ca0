"""A small functional API that adds nodes, as TAO's Keras templates do, and makes them a `Graph`.

    net = Builder((384, 1248, 3))
    x = net.conv(net.input, 64, 7, stride=2, name="conv1")
    x = net.relu(net.batch_norm(x, name="bn_conv1"))
    graph = net.graph("tiny", (x,), seed=1)

Every method takes names of nodes and returns the name of the new one.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from qatkit.graph import nodes
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Node, Padding, Shape

Array = NDArray[np.float32]
Initializer = Callable[[np.random.Generator, tuple[int, ...]], Array]
# The standard deviation of a unit normal cut off at two: Keras divides by it to get the variance it was asked for.
_TRUNCATED_STDDEV = 0.87962566103423978
# TAO's name of the only input, which is also the first part of its ONNX name.
INPUT_NAME = "input_1"


def same_padding(kernel: int, dilation: int = 1) -> Padding:
    """TAO's "same" of a convolution: ((k - 1) * d + 1) // 2 zeros on every side, whatever the stride.

    TensorFlow's own SAME pads stride-2 layers on one side only, which shifts the activations of TAO's weights.
    """
    size = ((kernel - 1) * dilation + 1) // 2
    return size, size, size, size


def glorot_uniform(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Keras's default for kernels: uniform within sqrt(6 / (fan in + fan out)); shape is HWIO."""
    field = math.prod(shape[:-2])
    limit = math.sqrt(6.0 / (field * shape[-2] + field * shape[-1]))
    return random.uniform(-limit, limit, shape).astype(np.float32)


def fan_out_normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """EfficientNet's kernels: normal with variance 2 / fan out, cut off at two standard deviations."""
    stddev = math.sqrt(2.0 / (math.prod(shape[:-2]) * shape[-1])) / _TRUNCATED_STDDEV
    values = random.standard_normal(shape)
    while (far := np.abs(values) > 2).any():
        values[far] = random.standard_normal(int(far.sum()))
    return (values * stddev).astype(np.float32)


def initial_weight(name: str, shape: tuple[int, ...], seed: int, kernel: Initializer = glorot_uniform) -> Array:
    """The weight `name` (`<node>/<part>`) of a new network: a function of (seed, name) alone."""
    part = name.rsplit("/", 1)[-1]
    if part in ("gamma", "variance"):
        return np.ones(shape, np.float32)
    if part != "kernel":
        return np.zeros(shape, np.float32)
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    return kernel(np.random.default_rng(int.from_bytes(digest, "little")), shape)


class Builder:
    """Collects nodes; see the module's docstring."""

    def __init__(self, input_shape: Shape, *, use_batch_norm: bool = True, frozen_bn: bool = False) -> None:
        """`input_shape` is (height, width, channels).

        Without `use_batch_norm` the method `batch_norm` adds nothing; `frozen_bn` is the spec's freeze_bn.
        """
        self.input = INPUT_NAME
        self.names: list[str] = []
        self._nodes: dict[str, Node] = {}
        self._shapes: dict[str, Shape] = {}
        self._counts: Counter[str] = Counter()
        self._initializers: dict[str, Initializer] = {}
        self._use_batch_norm = use_batch_norm
        self._frozen_bn = frozen_bn
        self.add_node(nodes.Input(INPUT_NAME, (), shape=input_shape))

    def shape(self, name: str) -> Shape:
        """(height, width, channels) of the output of node `name`."""
        return self._shapes[name]

    def add_node(self, node: Node) -> str:
        """Append `node` and return its name."""
        if node.name in self._nodes:
            raise ValueError(f"layer {node.name} exists already")
        self._nodes[node.name] = node
        self._shapes[node.name] = node.output_shape([self._shapes[source] for source in node.inputs])
        self.names.append(node.name)
        return node.name

    def conv(
        self,
        x: str,
        filters: int,
        kernel: int = 1,
        *,
        name: str,
        stride: int = 1,
        bias: bool = True,
        same: bool = True,
        initializer: Initializer = glorot_uniform,
    ) -> str:
        """Conv2D with a square kernel; `same=False` adds no padding."""
        self._initializers[name] = initializer
        window = _window(kernel, stride, same_padding(kernel) if same else (0, 0, 0, 0))
        return self.add_node(nodes.Conv2D(name, (x,), **window, filters=filters, use_bias=bias))

    def depthwise(
        self,
        x: str,
        kernel: int,
        *,
        name: str,
        stride: int = 1,
        same: bool = True,
        initializer: Initializer = glorot_uniform,
    ) -> str:
        """DepthwiseConv2D without bias."""
        self._initializers[name] = initializer
        window = _window(kernel, stride, same_padding(kernel) if same else (0, 0, 0, 0))
        return self.add_node(nodes.DepthwiseConv2D(name, (x,), **window))

    def batch_norm(self, x: str, *, name: str, momentum: float = 0.99) -> str:
        """BatchNorm, or nothing in a network without."""
        if not self._use_batch_norm:
            return x
        return self.add_node(nodes.BatchNorm(name, (x,), momentum=momentum, frozen=self._frozen_bn))

    def relu(self, x: str, *, name: str = "") -> str:
        return self.add_node(nodes.Relu(name or self._auto_name("activation"), (x,)))

    def leaky_relu(self, x: str, *, name: str, alpha: float = 0.1) -> str:
        return self.add_node(nodes.LeakyRelu(name, (x,), alpha=alpha))

    def swish(self, x: str, *, name: str) -> str:
        return self.add_node(nodes.Swish(name, (x,)))

    def sigmoid(self, x: str, *, name: str) -> str:
        return self.add_node(nodes.Sigmoid(name, (x,)))

    def add(self, *inputs: str, name: str = "") -> str:
        return self.add_node(nodes.Add(name or self._auto_name("add"), inputs))

    def multiply(self, *inputs: str, name: str) -> str:
        return self.add_node(nodes.Multiply(name, inputs))

    def concat(self, *inputs: str, name: str) -> str:
        return self.add_node(nodes.Concat(name, inputs))

    def pad(self, x: str, padding: Padding, *, name: str) -> str:
        return self.add_node(nodes.Pad(name, (x,), padding=padding))

    def max_pool(self, x: str, size: int, stride: int, *, name: str = "") -> str:
        """MaxPool with "same" padding, see `_pool_padding`."""
        name = name or self._auto_name("max_pooling2d")
        return self.add_node(nodes.MaxPool(name, (x,), **_window(size, stride, self._pool_padding(x, size, stride))))

    def global_avg_pool(self, x: str, *, name: str) -> str:
        return self.add_node(nodes.GlobalAvgPool(name, (x,)))

    def avg_pool(self, x: str, size: int, stride: int, *, name: str = "") -> str:
        """AvgPool with "same" padding, see `_pool_padding`."""
        name = name or self._auto_name("average_pooling2d")
        return self.add_node(nodes.AvgPool(name, (x,), **_window(size, stride, self._pool_padding(x, size, stride))))

    def _pool_padding(self, x: str, size: int, stride: int) -> Padding:
        """TAO's "same" of a pooling layer: (size - 1) // 2 zeros on every side.

        Where that leaves a row or column out (2x2 over an odd size), there is one more at the bottom or right: TAO's
        layers then claim a shape, rounded up, that their tensors do not have, and training stops over it.
        """
        before = (size - 1) // 2
        height, width = (
            max(before, (math.ceil(extent / stride) - 1) * stride + size - extent - before)
            for extent in self.shape(x)[:2]
        )
        return before, before, height, width

    def _auto_name(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}_{self._counts[kind]}"

    def graph(self, name: str, outputs: Sequence[str], seed: int) -> Graph:
        """The nodes that `outputs` need, in the order of Keras's `model.layers`, with initial weights.

        An output that TAO hides inside a layer (`output_cov/Sigmoid`) comes after all layers.
        """
        hidden = [self._nodes[output] for output in outputs if "/" in output]
        layers = [self._nodes[output].inputs[0] if "/" in output else output for output in outputs]
        ordered = (*keras_order(self._nodes, layers), *hidden)
        return Graph(name, ordered, self._initial_weights(ordered, seed), tuple(outputs))

    def _initial_weights(self, ordered: Sequence[Node], seed: int) -> dict[str, Array]:
        weights: dict[str, Array] = {}
        for node in ordered:
            inputs = [self._shapes[name] for name in node.inputs]
            kernel = self._initializers.get(node.name, glorot_uniform)
            for part, shape in node.weight_shapes(inputs).items():
                weights[f"{node.name}/{part}"] = initial_weight(f"{node.name}/{part}", shape, seed, kernel)
        return weights


class _Window(TypedDict):
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding


def _window(size: int, stride: int, padding: Padding) -> _Window:
    return {"kernel_size": (size, size), "strides": (stride, stride), "padding": padding}


def keras_order(nodes_by_name: dict[str, Node], outputs: Sequence[str]) -> tuple[Node, ...]:
    """The nodes that `outputs` need in Keras 2.2.4's order of `model.layers`.

    Layers are sorted by depth (the longest way to an output), those of one depth by when a walk from the outputs,
    depth first through each layer's inputs, meets them.
    """
    visited, finished = _walk(nodes_by_name, outputs)
    depths = dict.fromkeys(finished, 0)
    for name in reversed(finished):
        for source in nodes_by_name[name].inputs:
            depths[source] = max(depths[source], depths[name] + 1)
    return tuple(nodes_by_name[name] for name in sorted(finished, key=lambda name: (-depths[name], visited[name])))


def _walk(nodes_by_name: dict[str, Node], outputs: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Depth-first walk against the edges: the rank of each node's first visit, and the nodes as they finish."""
    visited: dict[str, int] = {}
    finished: list[str] = []
    stack = [(name, False) for name in reversed(outputs)]
    while stack:
        name, done = stack.pop()
        if done:
            finished.append(name)
        elif name not in visited:
            visited[name] = len(visited)
            stack.append((name, True))
            stack += [(source, False) for source in reversed(nodes_by_name[name].inputs)]
    return visited, finished
