"""Small networks for tests."""

from __future__ import annotations

from qatkit.graph import nodes
from qatkit.graph.builder import Builder
from qatkit.graph.graph import Graph


def tiny_network(classes: int = 2, seed: int = 0) -> Graph:
    """16x24 RGB -> a residual block of 8 channels -> DetectNet_v2's heads, at stride 4."""
    net = Builder((16, 24, 3))
    x = net.relu(net.batch_norm(net.conv(net.input, 8, 3, stride=2, name="conv1"), name="bn_conv1"))
    y = net.relu(net.conv(x, 16, 3, stride=2, name="a"))
    y = net.batch_norm(net.conv(y, 8, 3, name="b"), name="bn_b")
    x = net.relu(net.add(y, net.conv(x, 8, stride=2, name="shortcut")))
    net.conv(x, 4 * classes, name="output_bbox")
    net.conv(x, classes, name="output_cov")
    net.add_node(nodes.Sigmoid("output_cov/Sigmoid", ("output_cov",)))
    return net.graph("tiny_detectnet_v2", ("output_bbox", "output_cov/Sigmoid"), seed)
