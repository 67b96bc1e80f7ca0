"""The functional API: names, padding, order, initial weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qatkit.graph.builder import Builder, fan_out_normal, glorot_uniform, initial_weight, keras_order, same_padding
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Relu, Sigmoid


def test_the_empty_network_is_its_input() -> None:
    net = Builder((4, 6, 3))
    graph = net.graph("empty", (net.input,), seed=0)
    assert [node.name for node in graph.nodes] == ["input_1"]
    assert graph.params == 0


@pytest.mark.parametrize("kernel, dilation, pad", [(1, 1, 0), (3, 1, 1), (5, 1, 2), (7, 1, 3), (3, 2, 2)])
def test_same_padding_is_symmetric(kernel: int, dilation: int, pad: int) -> None:
    assert same_padding(kernel, dilation) == (pad, pad, pad, pad)


@pytest.mark.parametrize(
    "size, kernel, stride, same, shape",
    [
        (8, 3, 1, True, (8, 8, 5)),
        (8, 3, 2, True, (4, 4, 5)),
        (9, 3, 2, True, (5, 5, 5)),
        (8, 3, 1, False, (6, 6, 5)),
        (8, 7, 2, True, (4, 4, 5)),
    ],
)
def test_conv_shape(size: int, kernel: int, stride: int, same: bool, shape: tuple[int, int, int]) -> None:
    net = Builder((size, size, 3))
    x = net.conv(net.input, 5, kernel, stride=stride, same=same, name="c")
    assert net.graph("g", (x,), seed=0).shape("c") == shape


def test_automatic_names_count_by_kind() -> None:
    net = Builder((8, 8, 3))
    names = [net.relu(net.input), net.add(net.input, net.input), net.relu(net.input), net.max_pool(net.input, 2, 2)]
    assert names == ["activation_1", "add_1", "activation_2", "max_pooling2d_1"]


def test_a_name_can_be_used_once() -> None:
    net = Builder((8, 8, 3))
    net.relu(net.input, name="r")
    with pytest.raises(ValueError, match="layer r exists already"):
        net.relu(net.input, name="r")


def test_layers_are_ordered_by_depth_then_by_the_walk_from_the_outputs() -> None:
    # Built in another order than Keras lists them: the short branch waits until its depth.
    nodes = {
        name: Relu(name, inputs)
        for name, inputs in {
            "in": (),
            "short": ("in",),
            "long_1": ("in",),
            "long_2": ("long_1",),
            "join": ("short", "long_2"),
            "unused": ("in",),
        }.items()
    }
    assert [node.name for node in keras_order(nodes, ["join"])] == ["in", "long_1", "short", "long_2", "join"]


def test_initial_weights_are_those_of_keras() -> None:
    net = Builder((8, 8, 3))
    graph = net.graph("g", (net.batch_norm(net.conv(net.input, 64, 5, name="c"), name="b"),), seed=3)
    kernel = graph.weight("c", "kernel")
    limit = math.sqrt(6 / (25 * 3 + 25 * 64))
    assert kernel.dtype == np.float32
    assert 0.98 * limit < np.abs(kernel).max() <= limit
    # A uniform distribution's deviation is limit / sqrt(3); 4,800 values are within 3 % of it.
    assert kernel.std() == pytest.approx(limit / math.sqrt(3), rel=0.03)
    expected = {"bias": 0, "gamma": 1, "beta": 0, "mean": 0, "variance": 1}
    for part, value in expected.items():
        assert (graph.weights[f"{'c' if part == 'bias' else 'b'}/{part}"] == value).all()


def test_fan_out_normal_has_the_variance_it_is_named_after() -> None:
    values = fan_out_normal(np.random.default_rng(0), (3, 3, 16, 64))
    assert values.std() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.03)
    assert np.abs(values).max() <= 2 * math.sqrt(2 / (9 * 64)) / 0.8796


def test_equal_seed_and_name_give_equal_weights() -> None:
    one, again = (initial_weight("c/kernel", (3, 3, 2, 4), 5, glorot_uniform) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, initial_weight("d/kernel", (3, 3, 2, 4), 5))


def test_hidden_outputs_come_last() -> None:
    net = Builder((8, 8, 3))
    conv = net.conv(net.input, 2, name="cov")
    other = net.conv(net.relu(net.input), 2, name="other")
    hidden = net.add_node(Sigmoid("cov/Sigmoid", (conv,)))
    graph: Graph = net.graph("g", (other, hidden), seed=0)
    assert [node.name for node in graph.nodes] == ["input_1", "activation_1", "other", "cov", "cov/Sigmoid"]


@pytest.mark.parametrize(
    "extent, size, stride, pooled",
    [(8, 2, 2, 4), (17, 2, 2, 9), (8, 3, 2, 4), (9, 3, 2, 5), (9, 3, 1, 9), (9, 7, 7, 2), (15, 7, 7, 3)],
)
def test_pooling_covers_the_whole_image(extent: int, size: int, stride: int, pooled: int) -> None:
    net = Builder((extent, 2 * extent, 3))
    graph = net.graph("g", (net.max_pool(net.input, size, stride), net.avg_pool(net.input, size, stride)), seed=0)
    for name in graph.outputs:
        assert graph.shape(name)[0] == pooled
        assert graph[name].padding[:2] == ((size - 1) // 2, (size - 1) // 2)


def test_a_network_without_batch_norm() -> None:
    net = Builder((8, 8, 3), use_batch_norm=False)
    assert net.batch_norm(net.input, name="bn") == net.input
