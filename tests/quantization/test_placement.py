"""Which tensors carry quantize/dequantize, by name, per kind of block."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from qatkit.errors import ModelError, UsageError
from qatkit.graph import nodes as n
from qatkit.graph.graph import Graph
from qatkit.quantization.placement import QuantizationPlan, explain, place
from tests.support import golden_data
from tests.support.blocks import (
    add_of_activations,
    average,
    concat,
    concat_of_read_branch,
    conv_bn_relu,
    conv_relu,
    linear_then_conv,
    max_pool,
    padded,
    pool_of_image,
    pre_activation,
    squeeze_excite,
)
from tests.support.networks import Net, residual

TENSORRT: dict[str, tuple[Any, tuple[str, ...], dict[str, str]]] = {
    "conv": (conv_relu, ("input_1", "a_relu"), {}),
    "conv-bn": (linear_then_conv, ("input_1", "a_bn", "b_relu"), {}),
    "conv-bn-relu": (conv_bn_relu, ("input_1", "a_relu"), {}),
    "max-pool": (max_pool, ("input_1", "a_relu", "b_relu"), {"pool": "a_relu"}),
    "max-pool of the image": (pool_of_image, ("input_1", "a_relu"), {"pool": "input_1"}),
    "concat": (concat, ("input_1", "stem_relu", "join", "c_relu"), {"a_relu": "join", "b_relu": "join"}),
    "concat, branch read twice": (
        concat_of_read_branch,
        ("input_1", "a_relu", "join", "c_relu"),
        {"b_relu": "join"},
    ),
    "pad": (padded, ("input_1", "stem_relu", "dw_relu"), {"pad": "stem_relu"}),
    "average pool": (average, ("input_1", "stem_relu", "mean"), {}),
    "add of activations": (add_of_activations, ("input_1", "stem_relu", "a_relu", "sum", "b_relu"), {}),
    # `a` rides into the sum; the stem is read by the batch norm and by the sum.
    "pre-activation": (pre_activation, ("input_1", "stem", "pre_relu", "sum_relu"), {}),
    "squeeze-excite": (
        squeeze_excite,
        ("input_1", "stem_swish", "squeeze", "expand/Sigmoid", "excite", "project_relu"),
        {},
    ),
}


@pytest.mark.parametrize("kind", TENSORRT)
def test_tensorrt_quantizes_the_end_of_each_block(kind: str) -> None:
    build, activations, shared = TENSORRT[kind]
    plan = place(build().graph())
    assert plan.activations == activations
    assert plan.shared == shared


def test_a_network_without_layers_carries_nothing() -> None:
    plan = place(Net().graph("input_1"))
    assert (plan.activations, plan.weights, plan.shared) == ((), (), {})


@pytest.mark.parametrize("shortcut_first", [False, True])
def test_a_residual_with_identity_quantizes_the_shortcut_only(shortcut_first: bool) -> None:
    plan = place(residual(projection=False, shortcut_first=shortcut_first).graph())
    assert plan.activations == ("input_1", "stem_relu", "a_relu", "sum_relu")


@pytest.mark.parametrize("shortcut_first", [False, True])
def test_a_residual_with_projection_quantizes_the_projection_not_the_deeper_branch(shortcut_first: bool) -> None:
    plan = place(residual(projection=True, shortcut_first=shortcut_first).graph())
    assert plan.activations == ("input_1", "stem_relu", "a_relu", "shortcut_bn", "sum_relu")


@pytest.mark.parametrize("mode", ["tensorrt", "tao"])
def test_the_heads_stay_float_and_their_input_is_quantized(mode: Any) -> None:
    plan = place(residual(projection=True).graph(), mode)
    assert plan.weights == ("stem", "a", "b", "shortcut")
    assert "sum_relu" in plan.activations
    assert not {"output_bbox", "output_cov", "output_cov/Sigmoid"} & set(plan.activations)


def test_tao_quantizes_both_inputs_of_an_add_and_its_output() -> None:
    plan = place(residual(projection=True).graph(), "tao")
    assert plan.activations == ("input_1", "stem_relu", "a_relu", "b_bn", "shortcut_bn", "sum", "sum_relu")


def test_tao_quantizes_before_an_activation_inside_a_convolution_unless_it_is_a_relu() -> None:
    net = Net()
    first = net.add(n.Relu("a/Relu", (net.conv("a", net.input, 4, bias=True),)))
    second = net.add(n.Swish("b/Swish", (net.conv("b", first, 4, bias=True),)))
    net.heads(second)
    assert place(net.graph(), "tao").activations == ("input_1", "a/Relu", "b", "b/Swish")


def test_tao_leaves_alone_everything_back_to_the_last_real_layer() -> None:
    net = Net()
    first = net.conv_bn_relu("a", net.input, 4)
    net.relu("out", net.add(n.Add("total", (net.conv_bn("b", first, 4), first))))
    plan = place(net.graph("out"), "tao")
    # Back from `out` over the sum to b_bn and over a_relu to a_bn; `a` and `b` themselves are converted.
    assert plan.activations == ("input_1",)
    assert plan.weights == ("a", "b")


SKIPS: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
    # The block of `a` computes in float; its output is still INT8, as the next kernel reads it.
    (("a",), ("input_1", "stem_relu", "a_relu", "shortcut_bn", "sum_relu"), ("stem", "b", "shortcut")),
    # Any layer of a block names the block.
    (("a_bn",), ("input_1", "stem_relu", "a_relu", "shortcut_bn", "sum_relu"), ("stem", "b", "shortcut")),
    (("stem",), ("stem_relu", "a_relu", "shortcut_bn", "sum_relu"), ("a", "b", "shortcut")),
    # A float branch cannot take the sum in, so the other one does and this one is quantized.
    (("b",), ("input_1", "stem_relu", "b_bn", "sum_relu"), ("stem", "a", "shortcut")),
    (("sum",), ("input_1", "stem_relu", "a_relu", "sum_relu"), ("stem", "a", "b", "shortcut")),
    (
        ("output_*",),
        ("input_1", "stem_relu", "a_relu", "shortcut_bn"),
        ("stem", "a", "b", "shortcut"),
    ),
    (("*",), (), ()),
]


@pytest.mark.parametrize("skip, activations, weights", SKIPS, ids=[skip[0] for skip, _, _ in SKIPS])
def test_skipped_layers_compute_in_float(
    skip: tuple[str, ...], activations: tuple[str, ...], weights: tuple[str, ...]
) -> None:
    plan = place(residual(projection=True).graph(), skip=skip)
    assert (plan.activations, plan.weights, plan.skip) == (activations, weights, skip)


def test_tao_skips_the_kernel_and_the_output_of_a_layer() -> None:
    plan = place(residual(projection=False).graph(), "tao", skip=("a", "a_relu"))
    assert plan.weights == ("stem", "b")
    assert plan.activations == ("input_1", "stem_relu", "b_bn", "sum", "sum_relu")


@pytest.mark.parametrize("pattern, message", [("conv9", "no layer is called conv9"), ("input_1", "is the image")])
def test_a_skip_pattern_that_fits_nothing_is_an_error(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        place(conv_relu().graph(), skip=(pattern,))


def test_an_unknown_placement_is_an_error() -> None:
    with pytest.raises(UsageError, match="unknown placement 'tflite'"):
        place(conv_relu().graph(), "tflite")  # type: ignore[arg-type]


def test_a_plan_survives_json() -> None:
    plan = place(concat().graph(), skip=("b",))
    assert QuantizationPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    "change, message",
    [
        ({"activations": None}, "damaged"),
        ({"activations": [1]}, "damaged"),
        ({"shared": ["a"]}, "damaged"),
        ({"placement": "other"}, "unknown placement"),
    ],
)
def test_a_damaged_plan_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        QuantizationPlan.from_json({**place(concat().graph()).to_json(), **change})


@pytest.mark.parametrize(
    "plan, message",
    [
        (QuantizationPlan("tensorrt", ("gone",), (), {}), "no layer gone"),
        (QuantizationPlan("tensorrt", (), ("a_relu",), {}), "a_relu is no convolution"),
        (QuantizationPlan("tensorrt", (), (), {"a_relu": "gone"}), "no layer gone"),
    ],
)
def test_a_plan_of_another_network_is_refused(plan: QuantizationPlan, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        plan.check(conv_relu().graph())


def test_a_plan_fits_the_network_it_was_made_for() -> None:
    graph = concat().graph()
    place(graph).check(graph)


def test_a_plan_describes_itself() -> None:
    assert place(max_pool().graph(), skip=("output_*",)).describe().splitlines() == [
        "placement tensorrt: 2 tensors, 2 kernels (per channel)",
        "  output of input_1",
        "  output of a_relu",
        "  kernel of a",
        "  kernel of b",
        "  output of pool has the range of a_relu",
        "  skipped: output_*",
    ]


def test_a_plan_is_explained_block_by_block() -> None:
    graph = residual(projection=True).graph()
    assert explain(graph, place(graph)) == [
        ("input_1", "Input", "", "int8"),
        ("stem_relu", "Conv2D-BatchNorm-Relu", "int8", "int8"),
        ("a_relu", "Conv2D-BatchNorm-Relu", "int8", "int8"),
        ("b_bn", "Conv2D-BatchNorm", "int8", "added inside sum"),
        ("shortcut_bn", "Conv2D-BatchNorm", "int8", "int8"),
        ("sum_relu", "Add-Relu", "", "int8"),
        ("output_bbox", "Conv2D", "float", "float"),
        ("output_cov/Sigmoid", "Conv2D-Sigmoid", "float", "float"),
    ]
    assert ("sum_relu", "Add-Relu", "", "int8, also sum") in explain(graph, place(graph, "tao"))


_KINDS: dict[str, Any] = {
    "BatchNormalization": n.BatchNorm,
    "Add": n.Add,
    "Concatenate": n.Concat,
    "MaxPooling2D": n.MaxPool,
    "AveragePooling2D": n.AvgPool,
    "ReLU": n.Relu,
    "LeakyReLU": n.LeakyRelu,
}
_ACTIVATIONS: dict[str, Any] = {"relu": n.Relu, "sigmoid": n.Sigmoid, "swish": n.Swish}


def graph_from_layers(layers: list[dict[str, Any]]) -> Graph:
    """A graph of the same topology as a Keras layer listing, 1x1 kernels, all tensors one channel.

    Dropout, which does nothing at inference, is left out.
    """
    nodes: list[n.Node] = []
    output_of: dict[str, str] = {}
    for layer in layers:
        name, kind, config = layer["name"], layer["type"], layer["config"]
        inputs = tuple(output_of[source] for source in layer["inbound"])
        output_of[name] = name
        if kind == "InputLayer":
            nodes.append(n.Input(name, (), shape=(4, 4, 1)))
        elif kind == "Dropout":
            output_of[name] = inputs[0]
        elif kind in ("Conv2D", "DepthwiseConv2D"):
            nodes.append(n.Conv2D(name, inputs, filters=1) if kind == "Conv2D" else n.DepthwiseConv2D(name, inputs))
            if config["activation"] != "linear":
                inner = _ACTIVATIONS[config["activation"]]
                output_of[name] = f"{name}/{inner.__name__}"
                nodes.append(inner(output_of[name], (name,)))
        elif kind == "Activation":
            nodes.append(_ACTIVATIONS[config["activation"]](name, inputs))
        elif kind == "Concatenate":
            # A Concat widens the tensor, which the one-channel convolutions here do not follow.
            nodes.append(n.Add(name, inputs))
        else:
            nodes.append(_KINDS[kind](name, inputs))
    read = {name for node in nodes for name in node.inputs}
    weights = _ones(nodes)
    return Graph("golden", tuple(nodes), weights, tuple(node.name for node in nodes if node.name not in read))


def _ones(nodes: list[n.Node]) -> dict[str, Any]:
    return {
        f"{node.name}/{part}": np.ones(shape, np.float32)
        for node in nodes
        for part, shape in node.weight_shapes([(4, 4, 1)]).items()
    }


@golden_data.parametrize("09_qat", "network_")
def test_tao_placement_is_that_of_tao(case: dict[str, Any]) -> None:
    plan = place(graph_from_layers(case["layers_before"]), "tao")
    after = case["layers_after"]
    kinds = {layer["name"]: layer["type"] for layer in after}
    carriers = [layer["inbound"][0] for layer in after if layer["type"] == "QDQ"]
    expected = {name for name in carriers if kinds[name] != "Dropout"}
    assert set(plan.activations) == expected
    assert set(plan.weights) == {name for name, kind in kinds.items() if kind.startswith("Quantized")}
