"""Pruned networks against the reference's, and the rules by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qatkit.errors import QatkitError, UsageError
from qatkit.graph import nodes
from qatkit.graph.builder import Builder
from qatkit.graph.graph import Graph
from qatkit.pruning.prune import LayerRow, PruneOptions, prune, prune_to_ratio
from tests.support import golden_data
from tests.support.networks import tiny_network
from tests.support.pruning_models import TOPIC, models, network


def _cases() -> list[dict[str, Any]]:
    return [case for case in golden_data.cases(TOPIC) if "threshold" in case and "error" not in case]


def _failures() -> list[dict[str, Any]]:
    return [case for case in golden_data.cases(TOPIC) if "threshold" in case and "error" in case]


CASES = pytest.mark.parametrize("case", golden_data.params(TOPIC, _cases()))


def options_of(case: dict[str, Any]) -> PruneOptions:
    return PruneOptions(
        normalizer=case["normalizer"],
        criterion=case["equalization_criterion"],
        granularity=case["granularity"],
        min_num_filters=case["min_num_filters"],
        threshold=case["threshold"],
        excluded=tuple(case["excluded_layers"]),
    )


@CASES
def test_kept_channels_are_those_of_the_reference(case: dict[str, Any]) -> None:
    result = prune(network(case["model"]), options_of(case))
    assert {name: indices.tolist() for name, indices in result.kept.items()} == case["kept"]


@CASES
def test_pruned_shapes_are_those_of_the_reference(case: dict[str, Any]) -> None:
    result = prune(network(case["model"]), options_of(case))
    # Quantizers hold one scalar each, which is no weight of the network here.
    quantizers = sum(shapes == [[]] for shapes in case["weight_shapes"].values())
    assert result.params_before == case["params_before"] - quantizers
    assert result.graph.params == case["params_after"] - quantizers
    for node in result.graph.nodes:
        shapes = [list(result.graph.weights[name].shape) for name in node.weight_names()]
        assert shapes == case["weight_shapes"].get(node.name, [])


@CASES
def test_pruned_weights_are_those_of_the_reference(case: dict[str, Any]) -> None:
    result = prune(network(case["model"]), options_of(case))
    for name in case["arrays"]:
        _, layer, index = name.split("/")
        if layer not in result.graph:
            assert layer.endswith("_qdq")
            continue
        key = result.graph[layer].weight_names()[int(index)]
        np.testing.assert_array_equal(result.graph.weights[key], golden_data.array(TOPIC, case, name))


@pytest.mark.parametrize("case", golden_data.params(TOPIC, _failures()))
def test_what_the_reference_cannot_prune_is_pruned_or_refused(case: dict[str, Any]) -> None:
    try:
        result = prune(network(case["model"]), options_of(case))
    except QatkitError as error:
        assert str(error).isprintable()
    else:
        assert 0 < result.graph.params <= result.params_before


@golden_data.parametrize(TOPIC, "weights_")
def test_the_weights_follow_the_rule_of_the_vectors(case: dict[str, Any]) -> None:
    graph = network(case["model"])
    for name in case["arrays"]:
        _, layer, index = name.split("/")
        if layer in graph:
            found = graph.weights[graph[layer].weight_names()[int(index)]]
            np.testing.assert_allclose(found, golden_data.array(TOPIC, case, name), rtol=1e-6, atol=0)


@pytest.mark.parametrize("model", models())
def test_the_networks_have_the_weights_of_the_vectors(model: str) -> None:
    graph = network(model)
    for layer, values in models()[model]["first_values"].items():
        if layer in graph:
            first = graph.weights[graph[layer].weight_names()[0]]
            np.testing.assert_allclose(first.ravel()[: len(values)], values, rtol=1e-6)


def row(result_rows: tuple[LayerRow, ...], layer: str) -> LayerRow:
    return next(entry for entry in result_rows if entry.layer == layer)


def test_nothing_to_prune() -> None:
    graph = tiny_network()
    result = prune(graph, PruneOptions(threshold=0.0, min_num_filters=1, granularity=1))
    assert result.graph.nodes == graph.nodes
    assert result.params_ratio == result.macs_ratio == 1.0
    assert row(result.rows, "a").reason == "all above the threshold"
    assert row(result.rows, "output_bbox").reason == "output output_bbox"
    assert row(result.rows, "output_cov").reason == "output output_cov/Sigmoid"


def weak(graph: Graph, layer: str, filters: list[int]) -> Graph:
    """`graph` with the filters of `layer` all ones, those listed much smaller."""
    kernel = np.ones_like(graph.weight(layer, "kernel"))
    kernel[..., filters] *= 0.01
    return graph.with_weights({**graph.weights, f"{layer}/kernel": kernel})


def test_a_layer_of_its_own_is_cut_and_counted() -> None:
    graph = weak(tiny_network(), "a", [0, 3, 5, 6, 7, 8, 9, 15])
    result = prune(graph, PruneOptions(threshold=0.1, min_num_filters=1, granularity=1, excluded=("conv1", "b")))
    assert result.kept["a"].tolist() == [1, 2, 4, 10, 11, 12, 13, 14]
    assert row(result.rows, "a") == LayerRow(
        layer="a",
        filters_before=16,
        filters_after=8,
        params_before=(72 + 1) * 16,
        params_after=(72 + 1) * 8,
        macs_before=24 * 72 * 16,
        macs_after=24 * 72 * 8,
        reason="",
    )
    # b reads half as much; its own filters stay, and so do those of the shortcut beside it.
    np.testing.assert_array_equal(
        result.graph.weight("b", "kernel"), graph.weight("b", "kernel")[:, :, result.kept["a"]]
    )
    assert row(result.rows, "b").reason == row(result.rows, "shortcut").reason == "excluded b"
    assert result.graph.weight("a", "bias").shape == (8,)


def test_layers_that_are_added_keep_the_same_channels() -> None:
    graph = weak(weak(tiny_network(), "b", [0, 1, 2, 3]), "shortcut", [2, 3, 4, 5])
    options = {"threshold": 0.1, "min_num_filters": 1, "granularity": 1}
    union = prune(graph, PruneOptions(criterion="union", **options))
    assert union.kept["b"].tolist() == union.kept["shortcut"].tolist() == [0, 1, 4, 5, 6, 7]
    intersection = prune(graph, PruneOptions(criterion="intersection", **options))
    assert intersection.kept["b"].tolist() == intersection.kept["shortcut"].tolist() == [6, 7]


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"min_num_filters": 16, "granularity": 1}, "min_num_filters"),
        ({"min_num_filters": 1, "granularity": 16}, "granularity"),
        ({"min_num_filters": 1, "granularity": 1, "excluded": ("activation_2",)}, "excluded activation_2"),
    ],
)
def test_reasons_for_keeping_weak_filters(fields: dict[str, Any], reason: str) -> None:
    result = prune(weak(tiny_network(), "a", [0, 3]), PruneOptions(**fields))
    assert row(result.rows, "a").reason == reason
    assert row(result.rows, "a").filters_after == 16


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"excluded": ("block_9",)}, "excluded layer 'block_9': there is no such layer (do you mean"),
        ({"excluded": ("shortcuts",)}, "do you mean shortcut?"),
        ({"normalizer": "L1"}, "max or L2"),
        ({"criterion": "sum"}, "union, intersection"),
        ({"granularity": 0}, "granularity: should be 1 or more, found 0"),
        ({"min_num_filters": 0}, "should be 1 or more, found 0"),
        ({"threshold": -0.1}, "should be 0 or more, found -0.1"),
        ({"threshold": float("nan")}, "should be 0 or more, found nan"),
    ],
)
def test_options_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        prune(tiny_network(), PruneOptions(**fields))
    assert message in str(error.value)


def test_a_layer_of_zeros_keeps_the_minimum() -> None:
    graph = tiny_network()
    graph = graph.with_weights({**graph.weights, "a/kernel": np.zeros((3, 3, 8, 16), np.float32)})
    result = prune(graph, PruneOptions(min_num_filters=4, granularity=1))
    assert result.kept["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("target", [1.0, 0.8, 0.5, 0.2])
def test_target_ratio_is_met_by_the_smallest_threshold(target: float) -> None:
    graph = network("resnet_identity") if models() else tiny_network()
    options = PruneOptions(min_num_filters=1, granularity=1)
    result = prune_to_ratio(graph, options, target)
    assert result.params_ratio <= target
    assert prune(graph, PruneOptions(threshold=result.threshold, **_loose())).params_ratio == result.params_ratio
    if result.threshold > 0:
        slightly_less = np.nextafter(result.threshold, 0)
        assert prune(graph, PruneOptions(threshold=slightly_less, **_loose())).params_ratio > target


def _loose() -> dict[str, int]:
    return {"min_num_filters": 1, "granularity": 1}


@pytest.mark.parametrize(
    "target, message", [(0.0, "within 0 and 1"), (1.5, "within 0 and 1"), (0.01, "stops at 1.0000")]
)
def test_target_ratios_that_cannot_be_met(target: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prune_to_ratio(tiny_network(), PruneOptions(), target)


def test_concatenated_channels_are_found_again() -> None:
    net = Builder((8, 8, 3))
    left, right = net.conv(net.input, 4, name="left"), net.conv(net.input, 6, name="right")
    joined = net.batch_norm(net.concat(left, right, name="joined"), name="bn")
    out = net.conv(joined, 2, name="out")
    graph = weak(weak(net.graph("g", (out,), seed=0), "left", [1]), "right", [0, 5])
    result = prune(graph, PruneOptions(min_num_filters=1, granularity=1))
    expected = [0, 2, 3, 4 + 1, 4 + 2, 4 + 3, 4 + 4]
    np.testing.assert_array_equal(result.graph.weight("out", "kernel"), graph.weight("out", "kernel")[:, :, expected])
    assert result.graph.shape("bn") == (8, 8, 7)


def test_concatenations_that_are_added_piece_by_piece() -> None:
    net = Builder((8, 8, 3))
    names = ["a", "b", "c", "d"]
    convs = [net.conv(net.input, 4, name=name) for name in names]
    total = net.add(net.concat(*convs[:2], name="ab"), net.concat(*convs[2:], name="cd"))
    graph = net.graph("g", (net.conv(total, 2, name="out"),), seed=0)
    for name, filters in zip(names, ([0], [1], [0], [1])):
        graph = weak(graph, name, filters)
    result = prune(graph, PruneOptions(min_num_filters=1, granularity=1))
    assert [result.kept[name].tolist() for name in names] == [[1, 2, 3], [0, 2, 3], [1, 2, 3], [0, 2, 3]]


def test_a_concatenation_added_to_one_layer_is_left_alone() -> None:
    net = Builder((8, 8, 3))
    pieces = net.concat(net.conv(net.input, 4, name="a"), net.conv(net.input, 4, name="b"), name="ab")
    total = net.add(pieces, net.conv(net.input, 8, name="c"))
    graph = weak(net.graph("g", (net.conv(total, 2, name="out"),), seed=0), "a", [0, 1])
    result = prune(graph, PruneOptions(min_num_filters=1, granularity=1))
    assert result.params_ratio == 1.0
    assert row(result.rows, "a").reason == "concatenated in another way than what add_1 joins it with"


def test_a_gate_loses_the_channels_that_it_gates() -> None:
    """Squeeze and excite: the depthwise layer, its input and the gate keep the same channels."""
    net = Builder((8, 8, 3))
    x = net.depthwise(net.conv(net.input, 4, name="expand"), 3, name="depthwise")
    squeezed = net.conv(net.add_node(nodes.GlobalAvgPool("squeeze", (x,))), 2, name="reduce")
    gate = net.add_node(nodes.Sigmoid("gate", (net.conv(squeezed, 4, name="excite"),)))
    gated = net.add_node(nodes.Multiply("gated", (x, gate)))
    graph = net.graph("g", (net.conv(gated, 2, name="out"),), seed=0)
    for name in ("expand", "excite"):
        graph = weak(graph, name, [2])
    kernel = np.ones_like(graph.weight("depthwise", "kernel"))
    kernel[:, :, 2] = 0.01
    graph = graph.with_weights({**graph.weights, "depthwise/kernel": kernel})
    result = prune(graph, PruneOptions(min_num_filters=1, granularity=1))
    for name in ("expand", "depthwise", "excite"):
        assert result.kept[name].tolist() == [0, 1, 3]
    assert result.graph.weight("depthwise", "kernel").shape == (3, 3, 3, 1)


def test_a_gate_of_one_channel_stays() -> None:
    net = Builder((8, 8, 3))
    gated = net.add_node(
        nodes.Multiply("gated", (net.conv(net.input, 4, name="x"), net.conv(net.input, 1, name="gate")))
    )
    graph = weak(net.graph("g", (net.conv(gated, 2, name="out"),), seed=0), "x", [2])
    result = prune(graph, PruneOptions(min_num_filters=1, granularity=1))
    assert result.kept["x"].tolist() == [0, 1, 3]
    assert result.kept["gate"].tolist() == [0]


def test_what_feeds_the_image_on_stays() -> None:
    net = Builder((8, 8, 3))
    total = net.add(net.input, net.conv(net.input, 3, name="residual"))
    graph = weak(net.graph("g", (net.conv(total, 2, name="out"),), seed=0), "residual", [1])
    result = prune(graph, PruneOptions(min_num_filters=1, granularity=1))
    assert row(result.rows, "residual").reason == "the image's channels"
