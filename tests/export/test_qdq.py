"""The Q/DQ ONNX: where the nodes are, and that it computes INT8 arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper

from qatkit.errors import ModelError
from qatkit.export.deployed import deploy
from qatkit.export.qdq import to_qdq_onnx
from qatkit.graph.graph import Graph
from qatkit.quantization.folding import fold, weight_codes
from qatkit.quantization.placement import place
from tests.support.blocks import zoo
from tests.support.exported import METADATA, images_for
from tests.support.networks import Net, residual
from tests.support.plain_onnx import run
from tests.support.reference import evaluate, nchw


def peaks(graph: Graph, names: tuple[str, ...], images: np.ndarray) -> dict[str, float]:
    values = evaluate(graph, images)
    return {name: float(np.abs(values[name]).max()) for name in names}


def residual_model() -> tuple[Graph, dict[str, float], onnx.ModelProto]:
    graph = residual(projection=True).graph()
    plan = place(graph)
    ranges = peaks(graph, plan.activations, images_for(graph, 2))
    return graph, ranges, to_qdq_onnx(deploy(graph), plan, ranges, METADATA)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def test_the_planned_tensors_and_only_they_carry_quantize_and_dequantize() -> None:
    _, _, model = residual_model()
    assert [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"] == [
        *("input_1:0", "stem_relu/Relu:0", "a_relu/Relu:0", "shortcut_bn/batchnorm/add_1:0", "sum_relu/Relu:0")
    ]
    readers = {name: node for node in model.graph.node for name in node.input}
    assert readers["b_bn/batchnorm/add_1:0"].op_type == "Add"
    assert readers["shortcut_bn/batchnorm/add_1:0_dequantized"].op_type == "Add"


def test_zero_points_are_zero_and_scales_are_ranges_over_127() -> None:
    _, ranges, model = residual_model()
    values = constants(model)
    for name, value in values.items():
        if name.endswith("_zero_point"):
            assert value.dtype == np.int8
            assert not value.any()
    assert values["a_relu/Relu:0_scale"] == np.float32(ranges["a_relu"] / 127)


def test_kernels_are_int8_per_output_channel_of_the_folded_network_and_the_heads_float() -> None:
    graph, _, model = residual_model()
    values = constants(model)
    folded = fold(graph)
    for name in ("stem", "a", "b", "shortcut"):
        codes, scale = weight_codes(folded.weight(name, "kernel"))
        assert_array_equal(values[f"{name}/kernel:0_quantized"], codes.transpose(3, 2, 0, 1))
        assert_array_equal(values[f"{name}/kernel:0_scale"], scale)
        assert values[f"{name}/bias:0"].dtype == np.float32
    axes = {
        onnx.helper.get_node_attr_value(node, "axis")
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0].endswith("kernel:0_quantized")
    }
    assert axes == {0}
    assert values["output_cov/kernel:0"].dtype == np.float32


def test_it_computes_integer_arithmetic() -> None:
    graph, ranges, model = residual_model()
    images = images_for(graph, 2)  # those of the ranges: nothing is clipped
    folded = fold(graph)
    moved = {name.removesuffix("_bn"): amax for name, amax in ranges.items()}
    expected = evaluate(folded, images, moved, ("stem", "a", "b", "shortcut"))
    found = run(model, images)
    assert_allclose(found["output_bbox/BiasAdd:0"], nchw(expected["output_bbox"]), rtol=1e-4, atol=1e-5)
    assert_allclose(found["output_cov/Sigmoid:0"], nchw(expected["output_cov/Sigmoid"]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["tensorrt", "tao"])
def test_every_kind_of_node_can_be_exported_quantized(mode: Any) -> None:
    graph = zoo().graph()
    plan = place(graph, mode)
    images = images_for(graph, 1)
    ranges = peaks(graph, plan.activations, images)
    found = run(to_qdq_onnx(deploy(graph), plan, ranges, METADATA), images)
    exact = evaluate(graph, images)
    for tensor, name in zip(found.values(), graph.outputs):
        # INT8 all the way: near the float network, but not equal to it.
        error = np.abs(tensor - nchw(exact[name])).mean() / np.abs(exact[name]).mean()
        assert 1e-6 < error < 0.2


@pytest.mark.parametrize("amax", [None, 0.0, np.inf, np.nan])
def test_a_missing_or_senseless_range_is_refused(amax: float | None) -> None:
    net = Net()
    net.heads(net.conv_bn_relu("a", net.input, 4))
    graph = net.graph()
    ranges = {"input_1": 1.0} | ({"a_relu": amax} if amax is not None else {})
    with pytest.raises(ModelError, match="layer a_relu: there is no quantization range"):
        to_qdq_onnx(deploy(graph), place(graph), ranges, METADATA)
