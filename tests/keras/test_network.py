"""The Keras model of a graph against plain NumPy (float64), node by node and as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from qatkit.graph import nodes as n
from qatkit.graph.build import build
from qatkit.graph.graph import Graph
from qatkit.keras.network import to_keras
from qatkit.spec import ModelConfig
from tests.support.networks import Net, random_weights
from tests.support.reference import evaluate


def images(graph: Graph, count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *graph.input.shape), np.float32)


def assert_same(graph: Graph, atol: float = 1e-5) -> None:
    """The model's outputs are those of the plain evaluation."""
    network = to_keras(graph)
    batch = images(graph)
    expected = evaluate(graph, batch)
    found = network.model(batch, training=False)
    for name, output in zip(graph.outputs, found if len(graph.outputs) > 1 else [found]):
        assert output.shape == (len(batch), *graph.shape(name))
        assert_allclose(output, expected[name], rtol=1e-4, atol=atol, err_msg=name)


def window(kind: type[n.Node], size: int, stride: int, padding: n.Padding, **more: object) -> n.Node:
    return kind("x", ("input_1",), (size, size), (stride, stride), padding, **more)  # type: ignore[arg-type, call-arg]


@pytest.mark.parametrize("size", [(16, 24), (15, 23)], ids=["even", "odd"])
@pytest.mark.parametrize(
    "node",
    [
        window(n.Conv2D, 1, 1, (0, 0, 0, 0), filters=5),
        window(n.Conv2D, 1, 2, (0, 0, 0, 0), filters=5),
        window(n.Conv2D, 3, 1, (1, 1, 1, 1), filters=5, use_bias=False),
        window(n.Conv2D, 3, 2, (1, 1, 1, 1), filters=5),
        window(n.Conv2D, 7, 2, (3, 3, 3, 3), filters=5),
        window(n.Conv2D, 3, 2, (0, 0, 0, 0), filters=5),
        window(n.Conv2D, 3, 2, (0, 0, 1, 1), filters=5),  # what TensorFlow's "same" does on even sizes
        window(n.Conv2D, 3, 1, (2, 0, 1, 3), filters=5),
        window(n.Conv2D, 3, 1, (2, 2, 2, 2), dilation=(2, 2), filters=5),
        window(n.DepthwiseConv2D, 3, 1, (1, 1, 1, 1)),
        window(n.DepthwiseConv2D, 3, 2, (1, 1, 1, 1), use_bias=True),
        n.BatchNorm("x", ("input_1",), epsilon=1e-2),
        n.Relu("x", ("input_1",)),
        n.Relu6("x", ("input_1",)),
        n.LeakyRelu("x", ("input_1",), alpha=0.3),
        n.Swish("x", ("input_1",)),
        n.Sigmoid("x", ("input_1",)),
        n.Add("x", ("input_1", "input_1", "input_1")),
        n.Add("x", ("input_1",)),
        n.Multiply("x", ("input_1", "input_1")),
        n.Concat("x", ("input_1", "input_1")),
        n.Concat("x", ("input_1",)),
        window(n.MaxPool, 2, 2, (0, 0, 0, 0)),
        window(n.MaxPool, 3, 2, (1, 1, 1, 1)),
        window(n.AvgPool, 3, 1, (1, 1, 1, 1)),
        window(n.AvgPool, 2, 2, (0, 0, 0, 0)),
        n.GlobalAvgPool("x", ("input_1",)),
        n.Pad("x", ("input_1",), padding=(1, 2, 3, 4)),
        n.Upsample("x", ("input_1",), factors=(2, 3)),
    ],
    ids=lambda node: f"{node.op}-{'-'.join(str(value) for value in n.node_attributes(node).values())}",
)
def test_every_kind_of_node(node: n.Node, size: tuple[int, int]) -> None:
    net = Net(*size)
    # Values of both signs, some beyond 6, so that padding with zeros and every activation shows.
    net.add(n.BatchNorm("spread", ("input_1",)))
    net.add(replace(node, inputs=("spread",) * len(node.inputs)))
    graph = net.graph("x")
    weights = {**graph.weights, "spread/gamma": np.float32([9, -9, 20]), "spread/beta": np.float32([-4, 5, -9])}
    assert_same(graph.with_weights(weights), atol=1e-4)


def test_the_table_covers_every_kind_of_node() -> None:
    table = next(mark for mark in test_every_kind_of_node.pytestmark if mark.args[0] == "node")  # type: ignore[attr-defined]
    assert {node.op for node in table.args[1]} == set(n.NODE_TYPES) - {"Input"}


def test_a_factor_of_one_pixel_is_spread_over_the_image() -> None:
    net = Net()
    pooled = net.add(n.GlobalAvgPool("pooled", (net.input,)))
    net.add(n.Multiply("x", (net.input, pooled)))
    assert_same(net.graph("x"))


def test_same_padding_of_tensorflow_would_shift_a_stride_of_two() -> None:
    """Why the padding is explicit: on even sizes TensorFlow pads at the end only."""
    net = Net(16, 24)
    net.conv("x", net.input, 4, stride=2)
    graph = net.graph("x")
    batch = images(graph)
    of_tensorflow = tf.nn.conv2d(batch, graph.weight("x", "kernel"), 2, "SAME").numpy()
    assert np.abs(of_tensorflow - evaluate(graph, batch)["x"]).max() > 0.1
    assert_same(graph)


def resnet(depth: int, *, identity: bool = False) -> Graph:
    """A ResNet detector for 64x96 images, its weights and statistics random."""
    model = ModelConfig(arch="resnet", num_layers=depth, use_batch_norm=True, all_projections=not identity)
    graph = build(model, (64, 96, 3), 2, 0)
    return graph.with_weights(random_weights([(node, graph.input_shapes(node)) for node in graph.nodes], 1))


@pytest.mark.parametrize("identity", [False, True], ids=["projections", "identity"])
def test_resnet(identity: bool) -> None:
    graph = resnet(10, identity=identity)
    network = to_keras(graph)
    batch = images(graph)
    expected = evaluate(graph, batch)
    for name, output in zip(graph.outputs, network.model(batch, training=False)):
        scale = np.abs(expected[name]).max()
        assert_allclose(output, expected[name], rtol=0, atol=1e-5 * scale, err_msg=name)


def test_weights_are_read_back_as_they_were_given() -> None:
    graph = two_norms(frozen=False)
    network = to_keras(graph)
    assert_same_arrays(network.read().weights, graph.weights)
    doubled = {name: 2 * array for name, array in graph.weights.items()}
    network.write(doubled)
    assert_same_arrays(network.read().weights, doubled)
    assert_same(network.read())


def assert_same_arrays(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert_array_equal(array, expected[name], err_msg=name)


def test_state_goes_into_another_model() -> None:
    first, second = to_keras(two_norms(seed=1)), to_keras(two_norms(seed=2))
    batch = images(first.graph)
    assert np.abs(first.model(batch)[0] - second.model(batch)[0]).max() > 0
    second.restore(first.state())
    assert_array_equal(second.model(batch)[0], first.model(batch)[0])


def two_norms(*, frozen: bool = False, seed: int = 0) -> Graph:
    """conv-BN-ReLU, depthwise-BN-ReLU, heads."""
    net = Net()
    net.conv("a", net.input, 8, stride=2)
    net.add(n.BatchNorm("a_bn", ("a",), frozen=frozen))
    net.relu("a_relu", "a_bn")
    net.depthwise("b", "a_relu")
    net.add(n.BatchNorm("b_bn", ("b",), frozen=frozen))
    net.heads(net.relu("b_relu", "b_bn"))
    return net.graph(seed=seed)


def test_batch_norm_follows_the_batch_in_training() -> None:
    graph = two_norms()
    network = to_keras(graph)
    batch = images(graph)
    network.model(batch, training=True)
    mean = evaluate(graph, batch)["a"].mean((0, 1, 2))
    expected = 0.99 * graph.weight("a_bn", "mean") + 0.01 * mean
    assert_allclose(network.read().weight("a_bn", "mean"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_frozen_batch_norm_keeps_and_uses_its_statistics_while_gamma_and_beta_learn(training: bool) -> None:
    graph = two_norms(frozen=True)
    network = to_keras(graph)
    batch = images(graph)
    with tf.GradientTape() as tape:
        bbox, cov = network.model(batch, training=training)
        total = tf.reduce_sum(bbox) + tf.reduce_sum(cov)
    expected = evaluate(graph, batch)
    assert_allclose(bbox, expected["output_bbox"], rtol=1e-4, atol=1e-5)
    assert_same_arrays(network.read().weights, graph.weights)
    learned = [network.variables[f"a_bn/{part}"] for part in ("gamma", "beta")]
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(total, learned))


def test_a_training_pass_without_training_changes_nothing() -> None:
    graph = two_norms()
    network = to_keras(graph)
    network.model(images(graph), training=False)
    assert_same_arrays(network.read().weights, graph.weights)


def test_mixed_precision_computes_in_bfloat16_up_to_the_heads() -> None:
    graph = two_norms()
    network = to_keras(graph, policy="mixed_bfloat16")
    batch = images(graph)
    found = network.model(batch, training=False)
    assert [output.dtype for output in found] == [tf.float32, tf.float32]
    assert network.layers["b_relu"].compute_dtype == "bfloat16"
    assert network.layers["output_bbox"].compute_dtype == "float32"
    assert {variable.dtype for variable in network.variables.values()} == {tf.float32}
    expected = to_keras(graph).model(batch, training=False)
    scale = float(tf.reduce_max(tf.abs(expected[0])))
    difference = np.abs(found[0] - expected[0]).max()
    assert 0 < difference < 0.03 * scale


@pytest.mark.parametrize("use", [two_norms, lambda: resnet(10)], ids=["small", "resnet"])
def test_layers_have_the_names_of_the_graph(use: Callable[[], Graph]) -> None:
    graph = use()
    network = to_keras(graph)
    names = {layer.name for layer in network.model.layers if not layer.name.endswith("_padding")}
    assert names == {node.name.replace("/", "_") for node in graph.nodes}
