"""Backbones with heads against the layer listings of the original."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from qatkit.errors import SpecError
from qatkit.graph.build import BACKBONES, OUTPUTS, blocks_by_arch, blocks_of, build
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import BatchNorm, Node
from qatkit.spec import ModelConfig
from qatkit.spec.backbones import ARCHITECTURES
from tests.support import golden_data
from tests.support.backbones import config

# Keras's layer types by our operations; a layer may be listed under several (an Activation is any of them).
KERAS_TYPES = {
    "Input": {"InputLayer"},
    "Conv2D": {"Conv2D"},
    "DepthwiseConv2D": {"DepthwiseConv2D"},
    "BatchNorm": {"BatchNormalization"},
    "Relu": {"Activation", "ReLU"},
    "LeakyRelu": {"LeakyReLU"},
    "Swish": {"Activation"},
    "Sigmoid": {"Activation"},
    "Add": {"Add"},
    "Multiply": {"Multiply"},
    "Concat": {"Concatenate"},
    "MaxPool": {"MaxPooling2D"},
    "AvgPool": {"AveragePooling2D"},
    "GlobalAvgPool": {"GlobalAveragePooling2D"},
    "Pad": {"ZeroPadding2D"},
}


def float_cases() -> list[dict[str, Any]]:
    root = golden_data.ROOT / "09_graphs"
    found = []
    for case in golden_data.cases("09_graphs"):
        path = root / case.get("file", "")
        if not path.is_file():
            continue
        listing = {**json.loads(path.read_text()), "id": case["id"]}
        # The original leaves the mobilenets in float when it builds them for quantization.
        if not any(layer["type"] == "QDQ" for layer in listing["layers"]):
            found.append(listing)
    return [case for case in found if case["arch"] in BACKBONES]


def build_case(case: dict[str, Any]) -> Graph:
    channels, height, width = case["input_shape"]
    fields = {name: case[name] for name in ("use_batch_norm", "use_pooling", "all_projections")}
    return build(
        config(case["arch"], case["num_layers"], **fields), (height, width, channels), case["classes"], seed=0
    )


CASES = pytest.mark.parametrize("case", golden_data.params("09_graphs", float_cases()))


def keras_layers(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The listing without what a `Graph` does not have: dropout (nothing in inference), reshapes to 1x1 images."""
    passed = {layer["name"]: layer["inbound"] for layer in case["layers"] if layer["type"] in ("Dropout", "Reshape")}
    kept = [layer for layer in case["layers"] if layer["name"] not in passed]
    return [
        {**layer, "inbound": [name for source in layer["inbound"] for name in passed.get(source, [source])]}
        for layer in kept
    ]


@CASES
def test_layers_are_those_of_the_original(case: dict[str, Any]) -> None:
    graph = build_case(case)
    assert graph.name == case["model_name"]
    layers = [node for node in graph.nodes if "/" not in node.name]
    expected = keras_layers(case)
    assert [node.name for node in layers] == [layer["name"] for layer in expected]
    for node, layer in zip(layers, expected):
        assert layer["type"] in KERAS_TYPES[node.op], node.name
        assert [source.split("/")[0] for source in node.inputs] == layer["inbound"], node.name
        assert shape_nchw(graph, node) == layer["output_shape"][1:] or node.op == "GlobalAvgPool", node.name
        assert [list(shape) for shape in weight_shapes(graph, node)] == [w["shape"] for w in layer["weights"]]


@CASES
def test_attributes_are_those_of_the_original(case: dict[str, Any]) -> None:
    graph = build_case(case)
    for layer in keras_layers(case):
        node, settings = graph[layer["name"]], layer["config"]
        for ours, theirs in (("kernel_size", "kernel_size"), ("kernel_size", "pool_size"), ("strides", "strides")):
            if theirs in settings and hasattr(node, ours):
                assert list(getattr(node, ours)) == settings[theirs], node.name
        if node.op == "Pad":
            (top, bottom), (left, right) = settings["padding"]
            assert node.padding == (top, left, bottom, right)
        for name in ("use_bias", "epsilon", "momentum", "alpha"):
            if name in settings:
                assert getattr(node, name) == pytest.approx(settings[name]), node.name


@CASES
def test_parameter_counts_are_those_of_the_original(case: dict[str, Any]) -> None:
    graph = build_case(case)
    statistics = sum(
        graph.weight(node.name, part).size
        for node in graph.nodes
        if isinstance(node, BatchNorm)
        for part in ("mean", "variance")
    )
    assert graph.params == case["params"]
    assert graph.params - statistics == case["trainable_params"]


def shape_nchw(graph: Graph, node: Node) -> list[int]:
    height, width, channels = graph.shape(node.name)
    return [channels, height, width]


def weight_shapes(graph: Graph, node: Node) -> list[tuple[int, ...]]:
    return [graph.weights[name].shape for name in node.weight_names()]


# Totals with one class, from the table of the reference (batch norm, RGB, no pooling).
@pytest.mark.parametrize(
    "depth, all_projections, params",
    [
        (10, True, 4_921_413),
        (18, False, 11_197_893),
        (34, False, 21_317_189),
        (50, False, 23_597_957),
        (50, True, 38_203_269),
        (101, False, 42_668_421),
        (101, True, 75_186_565),
    ],
)
def test_resnet_sizes(depth: int, all_projections: bool, params: int) -> None:
    graph = build(config(num_layers=depth, all_projections=all_projections), (64, 64, 3), 1, seed=0)
    assert graph.params == params


def test_outputs_are_boxes_and_coverage() -> None:
    graph = build(config(num_layers=10), (96, 160, 1), 3, seed=0)
    assert graph.outputs == OUTPUTS == ("output_bbox", "output_cov/Sigmoid")
    assert graph.input.shape == (96, 160, 1)
    assert graph.shape("output_bbox") == (6, 10, 12)
    assert graph.shape("output_cov/Sigmoid") == (6, 10, 3)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"arch": "resnet", "num_layers": 19}, "there is no resnet 19 (one of 10, 18, 34"),
        ({"arch": "vgg", "num_layers": 18}, "there is no vgg 18 (one of 16, 19)"),
        ({"arch": "alexnet"}, "there is no backbone 'alexnet' (one of resnet"),
        ({"arch": ""}, "there is no backbone ''"),
    ],
)
def test_networks_that_do_not_exist(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        build(config(**fields), (64, 64, 3), 1, seed=0)
    assert message in str(error.value)
    assert error.value.exit_code == 2


def test_pooling_of_a_resnet_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    build(config(num_layers=10, use_pooling=True), (448, 448, 3), 1, seed=0)
    assert "stride 224" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arch, depth, asked, has",
    [
        ("vgg", 16, False, False),
        ("googlenet", 18, False, False),
        ("mobilenet_v2", 18, False, False),
        ("squeezenet", 18, True, False),
        ("efficientnet_b0", 18, False, True),
    ],
)
def test_batch_norm(arch: str, depth: int, asked: bool, has: bool) -> None:
    graph = build(config(arch, depth, use_batch_norm=asked), (64, 64, 3), 1, seed=0)
    assert any(isinstance(node, BatchNorm) for node in graph.nodes) is has
    assert graph.name.endswith("_bn_detectnet_v2") is (has and arch != "efficientnet_b0")


@pytest.mark.parametrize("depth", [16, 19])
def test_pooling_of_a_vgg(depth: int) -> None:
    graph = build(config("vgg", depth, use_pooling=True), (64, 96, 3), 1, seed=0)
    pools = [node.name for node in graph.nodes if node.op == "MaxPool"]
    assert pools == ["block1_pool", "block2_pool", "block3_pool", "block4_pool"]
    assert graph.shape("output_bbox") == (4, 6, 4)
    assert graph.name == f"vgg{depth}_bn_detectnet_v2"


def test_frozen_batch_norm() -> None:
    graph = build(config(num_layers=10, freeze_bn=True), (64, 64, 3), 1, seed=0)
    flags = [node.frozen for node in graph.nodes if isinstance(node, BatchNorm)]
    assert len(flags) == 13 and all(flags)


@pytest.mark.parametrize(
    "wanted, attached",
    [
        ("", "block_4a_relu"),
        ("block_3a_relu", "block_3a_relu"),  # the exact name wins over block_3a_relu_1, which contains it
        ("3a_relu_1", "block_3a_relu_1"),
    ],
)
def test_heads_attach_where_the_spec_says(wanted: str, attached: str) -> None:
    spec = config(num_layers=10)
    spec.objective_set.bbox.input = spec.objective_set.cov.input = wanted
    graph = build(spec, (64, 64, 3), 1, seed=0)
    assert graph["output_bbox"].inputs == graph["output_cov"].inputs == (attached,)
    # What no head needs is not in the network.
    assert all(graph.consumers()[node.name] or node.name in OUTPUTS for node in graph.nodes)


@pytest.mark.parametrize(
    "bbox, cov, message",
    [
        ("nowhere", "", "objective_set.bbox.input: no layer has 'nowhere' in its name"),
        ("", "block_1", "objective_set.cov.input: 'block_1' fits 8 layers"),
        ("block_1a_relu", "", "attached to layers of one size, found 16x16 and 4x4"),
    ],
)
def test_heads_that_cannot_be_attached(bbox: str, cov: str, message: str) -> None:
    spec = config(num_layers=10)
    spec.objective_set.bbox.input, spec.objective_set.cov.input = bbox, cov
    with pytest.raises(SpecError) as error:
        build(spec, (64, 64, 3), 1, seed=0)
    assert message in str(error.value)


def test_weights_depend_on_seed_and_name_alone() -> None:
    small = build(config(num_layers=10), (64, 64, 3), 1, seed=7)
    large = build(config(num_layers=18), (96, 96, 3), 1, seed=7)
    other = build(config(num_layers=10), (64, 64, 3), 1, seed=8)
    name = "block_2a_conv_1/kernel"
    np.testing.assert_array_equal(small.weights[name], large.weights[name])
    assert not np.array_equal(small.weights[name], other.weights[name])
    assert not np.array_equal(small.weights[name], small.weights["block_2a_conv_2/kernel"][:, :, :64])


@pytest.mark.parametrize(
    "arch, layer, block",
    [
        ("resnet", "conv1", 0),
        ("resnet", "block_1a_conv_1", 1),
        ("resnet", "block_4b_conv_shortcut", 4),
        ("resnet", "output_cov", None),
        ("vgg", "block_5c_conv_1", 5),
        ("googlenet", "conv2_reduce", 0),
        ("googlenet", "inception_3a_1x1", 1),
        ("googlenet", "inception_5b_pool_proj", 9),
        ("mobilenet_v1", "conv1", 0),
        ("mobilenet_v1", "conv_pw_11", 11),
        ("mobilenet_v2", "expanded_conv_project", 1),
        ("mobilenet_v2", "block_12_project", 13),
        ("squeezenet", "fire9_expand_conv3x3", 8),
        ("darknet", "conv6", 5),
        ("darknet", "b3_conv8_2", 3),
        ("efficientnet_b0", "block7a_se_expand", 7),
        ("efficientnet_b0", "top_conv", 8),
        ("efficientnet_b0", "output_bbox", None),
    ],
)
def test_blocks(arch: str, layer: str, block: int | None) -> None:
    assert BACKBONES[arch].block_of(layer) == block


@CASES
def test_every_convolution_of_a_backbone_is_in_a_block(case: dict[str, Any]) -> None:
    graph = build_case(case)
    convs = [node.name for node in graph.nodes if "Conv2D" in node.op and not node.name.startswith("output_")]
    blocks = [BACKBONES[case["arch"]].block_of(name) for name in convs]
    assert set(blocks) == set(ARCHITECTURES[case["arch"]].blocks)
    assert blocks_by_arch(graph) == {case["arch"]: dict(zip(convs, blocks))}  # no other backbone has such names
    assert blocks_of(graph) == dict(zip(convs, blocks))
    # Convolutions come block by block.
    assert blocks == sorted(blocks, key=lambda block: -1 if block is None else block)


def test_every_backbone_of_a_spec_is_built_in_every_depth() -> None:
    assert BACKBONES.keys() == ARCHITECTURES.keys()
    for arch, architecture in ARCHITECTURES.items():
        for depth in architecture.depths or (0,):
            graph = build(ModelConfig(arch=arch, num_layers=depth), (64, 64, 3), 1, 0)
            assert graph.shape("output_cov")[:2] == (64 // architecture.stride,) * 2
