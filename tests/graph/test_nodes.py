"""Shapes and checks of nodes and graphs."""

from __future__ import annotations

import numpy as np
import pytest

from qatkit.errors import ModelError
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import (
    NODE_TYPES,
    Activation,
    Add,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    GlobalAvgPool,
    Input,
    Join,
    MaxPool,
    Multiply,
    Node,
    Pad,
    Relu,
    Shape,
    Upsample,
    Window,
    kind_of,
)
from tests.support.networks import tiny_network

IMAGE = Input("in", (), shape=(8, 10, 3))


@pytest.mark.parametrize(
    "node, inputs, shape",
    [
        (IMAGE, [], (8, 10, 3)),
        (Relu("n", ("x",)), [(8, 10, 3)], (8, 10, 3)),
        (Conv2D("n", ("x",), kernel_size=(3, 3), filters=5), [(8, 10, 3)], (6, 8, 5)),
        (Conv2D("n", ("x",), kernel_size=(3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)), [(8, 10, 3)], (8, 10, 1)),
        (DepthwiseConv2D("n", ("x",), kernel_size=(3, 3), padding=(1, 1, 1, 1)), [(8, 10, 3)], (8, 10, 3)),
        (MaxPool("n", ("x",), kernel_size=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1)), [(8, 9, 3)], (4, 5, 3)),
        (Concat("n", ("x", "y")), [(8, 10, 3), (8, 10, 4)], (8, 10, 7)),
        (Multiply("n", ("x", "y")), [(8, 10, 3), (1, 1, 3)], (8, 10, 3)),
        (Multiply("n", ("x", "y")), [(1, 1, 3), (8, 10, 3)], (8, 10, 3)),
        (GlobalAvgPool("n", ("x",)), [(8, 10, 3)], (1, 1, 3)),
        (Pad("n", ("x",), padding=(0, 1, 2, 3)), [(8, 10, 3)], (10, 14, 3)),
        (Upsample("n", ("x",), factors=(2, 3)), [(8, 10, 3)], (16, 30, 3)),
    ],
    ids=lambda value: value.op if isinstance(value, Node) else "",
)
def test_output_shape(node: Node, inputs: list[Shape], shape: Shape) -> None:
    assert node.output_shape(inputs) == shape


@pytest.mark.parametrize(
    "node, inputs, macs",
    [
        (Relu("n", ("x",)), [(8, 10, 3)], 0),
        (Conv2D("n", ("x",), kernel_size=(3, 3), filters=5), [(8, 10, 3)], 6 * 8 * 5 * 9 * 3),
        (DepthwiseConv2D("n", ("x",), kernel_size=(3, 3)), [(8, 10, 3)], 6 * 8 * 3 * 9),
    ],
)
def test_multiply_adds(node: Node, inputs: list[Shape], macs: int) -> None:
    assert node.macs(inputs) == macs


@pytest.mark.parametrize(
    "nodes, outputs, message",
    [
        ((IMAGE, Relu("in", ("in",))), ("in",), "layer in: the name is used twice"),
        ((Relu("a", ("in",)), IMAGE), ("a",), "layer a: its input in does not come before it"),
        ((IMAGE,), ("z",), "output z: there is no such layer"),
        ((IMAGE, Relu("a", ())), ("a",), "layer a: Relu cannot have 0 inputs"),
        ((IMAGE, Relu("a", ("in", "in"))), ("a",), "layer a: Relu cannot have 2 inputs"),
        ((IMAGE, Add("a", ())), ("a",), "layer a: Add has no input"),
        ((IMAGE, Pad("p", ("in",), padding=(1, 0, 0, 0)), Add("a", ("in", "p"))), ("a",), "differ in shape"),
        ((IMAGE, Pad("p", ("in",), padding=(1, 0, 0, 0)), Concat("a", ("in", "p"))), ("a",), "differ in size"),
        ((IMAGE, MaxPool("p", ("in",), kernel_size=(9, 9))), ("p",), "layer p: nothing is left of its input"),
        ((IMAGE, Upsample("u", ("in",), factors=(1 << 20, 1))), ("u",), "layer u: its output has more than"),
        (
            (IMAGE, Conv2D("c", ("in",), filters=2)),
            ("c",),
            "should have the shape (1, 1, 3, 2), found nothing",
        ),
    ],
)
def test_graphs_that_make_no_sense(nodes: tuple[Node, ...], outputs: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelError) as error:
        Graph("g", nodes, {}, outputs)
    assert message in str(error.value)


def test_lookups() -> None:
    graph = tiny_network()
    assert graph["a"].name == "a"
    assert "a" in graph and "z" not in graph
    with pytest.raises(KeyError):
        graph["z"]
    assert [node.name for node in graph.consumers()["activation_1"]] == ["a", "shortcut"]
    assert graph.consumers()["output_bbox"] == []


def test_counts() -> None:
    graph = tiny_network()
    convs = {"conv1": (9 * 3 + 1) * 8, "a": (9 * 8 + 1) * 16, "b": (9 * 16 + 1) * 8, "shortcut": 9 * 8}
    assert graph.params == sum(convs.values()) + 2 * 4 * 8 + 9 * 8 + 9 * 2
    stride_2, stride_4 = 8 * 12, 4 * 6
    assert graph.macs == stride_2 * 27 * 8 + stride_4 * (72 * 16 + 144 * 8 + 8 * 8 + 8 * 8 + 8 * 2)


def test_other_weights() -> None:
    graph = tiny_network()
    zeros = {name: np.zeros_like(array) for name, array in graph.weights.items()}
    assert not graph.with_weights(zeros).weight("a", "kernel").any()
    assert graph.with_weights(zeros).nodes == graph.nodes


def test_kinds_written_as_one_onnx_operation_have_the_same_traits() -> None:
    """An ONNX file is judged by the traits of one of them."""
    for kind in NODE_TYPES.values():
        if kind.onnx_op:
            like = kind_of(kind.onnx_op)
            assert like is not None and (like.int8, like.negative) == (kind.int8, kind.negative)
            assert [issubclass(like, base) for base in (Window, Activation, Join)] == [
                issubclass(kind, base) for base in (Window, Activation, Join)
            ]
    assert kind_of("Gelu") is None
