"""Small networks made of nodes, with random weights and batch-norm statistics, for tests."""

from __future__ import annotations

import numpy as np

from qatkit.graph import nodes as n
from qatkit.graph.builder import Builder
from qatkit.graph.graph import Graph


class Net:
    """Collects nodes; every method adds one and returns its name."""

    def __init__(self, height: int = 16, width: int = 24, channels: int = 3, *, name: str = "input_1") -> None:
        self.nodes: list[n.Node] = [n.Input(name, (), shape=(height, width, channels))]
        self.input = name

    def add(self, node: n.Node) -> str:
        self.nodes.append(node)
        return node.name

    def conv(
        self, name: str, source: str, filters: int, kernel: int = 3, stride: int = 1, *, bias: bool = False
    ) -> str:
        padding = (kernel // 2,) * 4
        size, strides = (kernel, kernel), (stride, stride)
        return self.add(n.Conv2D(name, (source,), size, strides, padding, filters=filters, use_bias=bias))

    def depthwise(self, name: str, source: str, kernel: int = 3, stride: int = 1) -> str:
        return self.add(n.DepthwiseConv2D(name, (source,), (kernel, kernel), (stride, stride), (kernel // 2,) * 4))

    def bn(self, name: str, source: str) -> str:
        return self.add(n.BatchNorm(name, (source,)))

    def relu(self, name: str, source: str) -> str:
        return self.add(n.Relu(name, (source,)))

    def conv_bn(self, name: str, source: str, filters: int, kernel: int = 3, stride: int = 1) -> str:
        return self.bn(f"{name}_bn", self.conv(name, source, filters, kernel, stride))

    def conv_bn_relu(self, name: str, source: str, filters: int, kernel: int = 3, stride: int = 1) -> str:
        return self.relu(f"{name}_relu", self.conv_bn(name, source, filters, kernel, stride))

    def add_relu(self, name: str, *sources: str) -> str:
        return self.relu(f"{name}_relu", self.add(n.Add(name, sources)))

    def concat(self, name: str, *sources: str) -> str:
        return self.add(n.Concat(name, sources))

    def max_pool(self, name: str, source: str, kernel: int = 2, stride: int = 2, padding: int = 0) -> str:
        return self.add(n.MaxPool(name, (source,), (kernel, kernel), (stride, stride), (padding,) * 4))

    def heads(self, source: str, classes: int = 2) -> None:
        self.conv("output_bbox", source, 4 * classes, 1, bias=True)
        self.conv("output_cov", source, classes, 1, bias=True)
        self.add(n.Sigmoid("output_cov/Sigmoid", ("output_cov",)))

    def graph(self, *outputs: str, seed: int = 0) -> Graph:
        """The network with random weights; without `outputs` it ends in the heads of a detector."""
        bare = _without_weights(self.nodes)
        weights = random_weights(bare, seed)
        return Graph("net", tuple(self.nodes), weights, outputs or ("output_bbox", "output_cov/Sigmoid"))


def _without_weights(nodes: list[n.Node]) -> list[tuple[n.Node, list[n.Shape]]]:
    shapes: dict[str, n.Shape] = {}
    result = []
    for node in nodes:
        inputs = [shapes[name] for name in node.inputs]
        shapes[node.name] = node.output_shape(inputs)
        result.append((node, inputs))
    return result


def random_weights(nodes: list[tuple[n.Node, list[n.Shape]]], seed: int) -> dict[str, np.ndarray]:
    """Kernels of He size, biases and statistics that differ per channel, gammas of both signs."""
    rng = np.random.default_rng(seed)
    weights = {}
    for node, inputs in nodes:
        for part, shape in node.weight_shapes(inputs).items():
            if part == "kernel":
                depthwise = isinstance(node, n.DepthwiseConv2D)
                fan_in = np.prod(shape[:2] if depthwise else shape[:3])
                channels = (1, 1, shape[2], 1) if depthwise else (1, 1, 1, shape[3])
                value = rng.normal(size=shape) * np.sqrt(2 / fan_in) * rng.uniform(0.5, 2, channels)
            elif part == "gamma":
                value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape, p=[0.3, 0.7])
            elif part == "variance":
                value = rng.uniform(0.3, 2, shape)
            else:
                value = rng.normal(size=shape) * 0.2
            weights[f"{node.name}/{part}"] = value.astype(np.float32)
    return weights


def residual(*, projection: bool, shortcut_first: bool = False) -> Net:
    """A residual block between a stem and the heads: stem, a, b, [shortcut], sum; the sum reads b first or last."""
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 8, stride=2)
    main = net.conv_bn("b", net.conv_bn_relu("a", stem, 8), 8)
    shortcut = net.conv_bn("shortcut", stem, 8, kernel=1) if projection else stem
    net.heads(net.add_relu("sum", *((shortcut, main) if shortcut_first else (main, shortcut))))
    return net


def tiny_network(classes: int = 2, seed: int = 0) -> Graph:
    """16x24 RGB -> a residual block of 8 channels -> DetectNet_v2's heads, at stride 4."""
    net = Builder((16, 24, 3))
    x = net.relu(net.batch_norm(net.conv(net.input, 8, 3, stride=2, name="conv1"), name="bn_conv1"))
    y = net.relu(net.conv(x, 16, 3, stride=2, name="a"))
    y = net.batch_norm(net.conv(y, 8, 3, name="b"), name="bn_b")
    x = net.relu(net.add(y, net.conv(x, 8, stride=2, name="shortcut")))
    net.conv(x, 4 * classes, name="output_bbox")
    net.conv(x, classes, name="output_cov")
    net.add_node(n.Sigmoid("output_cov/Sigmoid", ("output_cov",)))
    return net.graph("tiny_detectnet_v2", ("output_bbox", "output_cov/Sigmoid"), seed)
