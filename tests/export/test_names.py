"""Tensor names, held to the names in TAO's own calibration caches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qatkit.errors import UsageError
from qatkit.export.names import tensor_name
from qatkit.graph import nodes as n
from tests.support import golden_data

NAMES: list[tuple[n.Node, str]] = [
    (n.Input("input_1", ()), "input_1:0"),
    (n.Conv2D("conv1", ("x",), use_bias=True), "conv1/BiasAdd:0"),
    (n.Conv2D("conv1", ("x",), use_bias=False), "conv1/convolution:0"),
    (n.DepthwiseConv2D("dw", ("x",)), "dw/depthwise:0"),
    (n.DepthwiseConv2D("dw", ("x",), use_bias=True), "dw/BiasAdd:0"),
    (n.BatchNorm("bn_conv1", ("x",)), "bn_conv1/batchnorm/add_1:0"),
    (n.Relu("activation_1", ("x",)), "activation_1/Relu:0"),
    (n.Relu6("block_1a_relu", ("x",)), "block_1a_relu/Relu6:0"),
    (n.LeakyRelu("lrelu", ("x",)), "lrelu/LeakyRelu:0"),
    (n.Swish("swish", ("x",)), "swish/mul:0"),
    (n.Sigmoid("gate", ("x",)), "gate/Sigmoid:0"),
    (n.Sigmoid("output_cov/Sigmoid", ("output_cov",)), "output_cov/Sigmoid:0"),
    (n.Add("add_1", ("x", "y")), "add_1/add:0"),
    (n.Add("add_1", ("x", "y", "z")), "add_1/add_1:0"),
    (n.Multiply("excite", ("x", "y")), "excite/mul:0"),
    (n.Concat("fire2", ("x", "y")), "fire2/concat:0"),
    (n.MaxPool("pool1", ("x",)), "pool1/MaxPool:0"),
    (n.AvgPool("pool1", ("x",)), "pool1/AvgPool:0"),
    (n.GlobalAvgPool("squeeze", ("x",)), "squeeze/Mean:0"),
    (n.Pad("conv1_pad", ("x",)), "conv1_pad/Pad:0"),
    (n.Upsample("up", ("x",)), "up/ResizeNearestNeighbor:0"),
]


@pytest.mark.parametrize("node, name", NAMES, ids=[name for _, name in NAMES])
def test_the_name_of_a_tensor(node: n.Node, name: str) -> None:
    assert tensor_name(node) == name
    assert tensor_name(node, "uff") == name.removesuffix(":0")


def test_every_kind_of_node_has_a_name() -> None:
    assert {type(node) for node, _ in NAMES} == set(n.NODE_TYPES.values())


def test_an_unknown_style_is_an_error() -> None:
    with pytest.raises(UsageError, match="unknown tensor names 'caffe'"):
        tensor_name(NAMES[0][0], "caffe")  # type: ignore[arg-type]


_KINDS: dict[str, Any] = {
    "InputLayer": n.Input,
    "Conv2D": n.Conv2D,
    "BatchNormalization": n.BatchNorm,
    "ReLU": n.Relu6,  # what TAO makes of a ReLU in QAT
    "Add": n.Add,
    "MaxPooling2D": n.MaxPool,
    "AveragePooling2D": n.AvgPool,
    "GlobalAveragePooling2D": n.GlobalAvgPool,
    "ZeroPadding2D": n.Pad,
    "Multiply": n.Multiply,
    "Concatenate": n.Concat,
    "DepthwiseConv2D": n.DepthwiseConv2D,
}
# What does nothing in inference is no node of ours.
_PASSED = ("Dropout", "Reshape")


@golden_data.parametrize("10_export")
@pytest.mark.parametrize("style", ["onnx", "uff"])
def test_the_names_are_those_of_taos_caches(case: dict[str, Any], style: Any) -> None:
    """Every tensor of TAO's table, but for those of layers that do nothing."""
    kinds = {layer["name"]: layer["type"].removeprefix("Quantized") for layer in case["layers"]}
    quantized = [layer["inbound"][0] for layer in case["layers"] if layer["type"] == "QDQ"]
    table = dict(zip(quantized, case["export"][style]["tensor_scales"], strict=True))
    named = {name: _KINDS[kinds[name]](name, ("x", "y")) for name in quantized if kinds[name] not in _PASSED}
    assert named
    for name, node in named.items():
        # Of a convolution the listing tells no bias.
        found = (
            {tensor_name(replace(node, use_bias=bias), style) for bias in (True, False)}
            if "Conv" in node.op
            else {tensor_name(node, style)}
        )
        assert table[name] in found, name
