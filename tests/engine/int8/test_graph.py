"""Reading ONNX files as graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto, helper, numpy_helper

from qatkit.engine.int8.graph import OnnxGraph, clip_bounds, non_negative, parse, sizes
from qatkit.errors import ModelError


def model(
    *nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), shape: Any = ("N", 2, 4, 6), **constants: Any
) -> Any:
    """An ONNX model of `nodes` that reads `x`; constants are initializers."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def op(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def test_a_graph_knows_who_makes_and_who_reads_a_tensor() -> None:
    graph = parse(model(op("Relu", "x", "a"), op("Add", "a a", "b"), op("Sigmoid", "b", "y"), outputs=("b", "y")))
    assert (graph.input, graph.outputs, graph.image, graph.opset) == ("x", ("b", "y"), (2, 4, 6), 13)
    assert graph.tensors == {"x", "a", "b", "y"}
    assert graph.maker("x") is None
    maker = graph.maker("b")
    assert maker is not None
    assert maker.kind == "Add"
    assert [reader.kind for reader in graph.readers("a")] == ["Add", "Add"]
    assert graph.sole_reader("a") is None  # read twice
    assert graph.sole_reader("b") is None  # an output as well
    assert graph.readers("y") == ()


def test_constants_and_operations_that_do_nothing_disappear() -> None:
    value = numpy_helper.from_array(np.float32(3), "value")
    graph = parse(
        model(
            helper.make_node("Constant", [], ["three"], value=value),
            op("Identity", "x", "same"),
            op("Dropout", "same", "kept"),
            op("Mul", "kept three", "product"),
            op("Identity", "product", "y"),
        )
    )
    # The last one bears the name of an output.
    assert [(item.kind, item.inputs) for item in graph.ops] == [("Mul", ("x", "three")), ("Identity", ("product",))]
    assert_array_equal(graph.constants["three"], 3)


@pytest.mark.parametrize("shape, image", [(("N", 3, "H", "W"), (3, 0, 0)), ((1, 1, 8, 8), (1, 8, 8))])
def test_open_dimensions_are_zero(shape: Any, image: tuple[int, int, int]) -> None:
    assert parse(model(op("Relu", "x", "y"), shape=shape)).image == image


def test_networks_with_several_inputs_or_flat_ones_are_refused() -> None:
    two = model(op("Add", "x z", "y"))
    two.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ("N", 2, 4, 6)))
    with pytest.raises(ModelError, match="2 inputs"):
        parse(two)
    with pytest.raises(ModelError, match="2 dimensions"):
        parse(model(op("Relu", "x", "y"), shape=("N", 10)))


SIGNS: list[tuple[list[onnx.NodeProto], bool]] = [
    ([op("MaxPool", "x", "y", kernel_shape=[2, 2])], True),  # of the image
    ([op("Relu", "x", "y")], True),
    ([op("Sigmoid", "x", "y")], True),
    ([op("LeakyRelu", "x", "y")], False),
    ([op("Conv", "x w", "y")], False),
    ([op("Clip", "x zero six", "y")], True),
    ([op("Clip", "x minus six", "y")], False),
    ([op("Clip", "x", "y")], False),
    ([op("Conv", "x w", "c"), op("MaxPool", "c", "y", kernel_shape=[2, 2])], False),
    ([op("Relu", "x", "a"), op("MaxPool", "a", "y", kernel_shape=[2, 2])], True),
    ([op("Conv", "x w", "c"), op("Concat", "x c", "y", axis=1)], False),
    ([op("Add", "x six", "y")], True),
    ([op("Add", "x minus", "y")], False),
    ([op("Resize", "x nothing six", "y")], True),
]


@pytest.mark.parametrize(
    "nodes, expected", SIGNS, ids=[" ".join(node.op_type for node in nodes) for nodes, _ in SIGNS]
)
def test_what_cannot_be_negative(nodes: list[onnx.NodeProto], expected: bool) -> None:
    graph = parse(model(*nodes, w=np.ones((2, 2, 1, 1)), zero=0, six=6, minus=-1))
    assert non_negative(graph, "y") is expected


def test_bounds_of_a_clip() -> None:
    def bounds(graph: OnnxGraph) -> tuple[float | None, float | None]:
        return clip_bounds(graph, graph.ops[0])

    assert bounds(parse(model(op("Clip", "x zero six", "y"), zero=0, six=6))) == (0, 6)
    assert bounds(parse(model(helper.make_node("Clip", ["x", "", "six"], ["y"]), six=6))) == (None, 6)
    assert bounds(parse(model(op("Clip", "x", "y")))) == (None, None)


@pytest.mark.parametrize(
    "attributes, size",
    [
        ({}, (2, 4)),
        ({"pads": [1, 1, 1, 1]}, (4, 6)),
        ({"pads": [0, 1, 2, 0], "strides": [2, 3]}, (2, 2)),
        ({"pads": [2, 2, 2, 2], "dilations": [2, 2]}, (4, 6)),
        ({"auto_pad": "SAME_UPPER"}, None),
    ],
)
def test_sizes_of_a_convolution(attributes: dict[str, Any], size: tuple[int, int] | None) -> None:
    graph = parse(model(op("Conv", "x w", "a", **attributes), op("Relu", "a", "y"), w=np.ones((3, 2, 3, 3))))
    assert sizes(graph) == {"x": (4, 6), **({} if size is None else {"a": size, "y": size})}


def test_sizes_of_other_operations() -> None:
    nodes = (
        op("MaxPool", "x", "a", kernel_shape=[2, 2], strides=[2, 2]),
        op("GlobalAveragePool", "a", "mean"),
        op("Mul", "a mean", "b"),
        op("Pad", "b amounts", "padded"),
        helper.make_node("Resize", ["padded", "", "factors"], ["y"]),
    )
    constants = {"amounts": [0, 0, 1, 2, 0, 0, 0, 3], "factors": [1, 1, 2, 2]}
    expected = {"x": (4, 6), "a": (2, 3), "mean": (1, 1), "b": (2, 3), "padded": (3, 8), "y": (6, 16)}
    assert sizes(parse(model(*nodes, **constants))) == expected
    assert sizes(parse(model(*nodes, **constants, shape=("N", 2, "H", "W")))) == {}


def test_sizes_end_where_they_are_not_known() -> None:
    nodes = (op("Transpose", "x", "a"), op("Relu", "a", "b"), op("Relu", "x", "c"), op("Add", "b c", "y"))
    assert sizes(parse(model(*nodes))) == {"x": (4, 6), "c": (4, 6)}
    two_axes = helper.make_node("Pad", ["x", "amounts", "", "axes"], ["y"])
    assert sizes(parse(model(two_axes, amounts=[1, 1, 1, 1], axes=[2, 3]))) == {"x": (4, 6)}
