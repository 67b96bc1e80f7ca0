"""Cutting channels that carry nothing changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from qatkit.graph.builder import Builder
from qatkit.graph.graph import Graph
from qatkit.pruning.channels import group_channels
from qatkit.pruning.surgery import cut
from tests.support.networks import tiny_network
from tests.support.reference import evaluate


def without(graph: Graph, layer: str, filters: list[int]) -> Graph:
    """`graph` without these filters of `layer`."""
    groups = group_channels(graph)
    kept = {segment.group: np.arange(segment.size, dtype=np.intp) for row in groups.rows.values() for segment in row}
    (segment,) = groups.rows[layer]
    kept[segment.group] = np.setdiff1d(kept[segment.group], filters)
    return cut(graph, groups, kept)


def silenced(graph: Graph, filters: dict[str, list[int]]) -> Graph:
    """`graph` with random weights in which the outputs of these filters are zero."""
    random = np.random.default_rng(0)
    weights = {name: random.uniform(0.1, 1, array.shape).astype(np.float32) for name, array in graph.weights.items()}
    for layer, silent in filters.items():
        for name in graph[layer].weight_names():
            if name.rsplit("/")[-1] not in ("mean", "variance"):
                weights[name][..., silent] = 0
    return graph.with_weights(weights)


@pytest.mark.parametrize(
    "layer, silent",
    [
        ("conv1", {"conv1": [0, 5], "bn_conv1": [0, 5]}),
        ("a", {"a": [1, 2, 15]}),
        ("shortcut", {"b": [7], "bn_b": [7], "shortcut": [7]}),
    ],
)
def test_outputs_stay(layer: str, silent: dict[str, list[int]]) -> None:
    graph = silenced(tiny_network(), silent)
    smaller = without(graph, layer, silent[layer])
    assert smaller.params < graph.params
    images = np.random.default_rng(1).uniform(0, 1, (2, 16, 24, 3)).astype(np.float32)
    before, after = evaluate(graph, images), evaluate(smaller, images)
    for name in graph.outputs:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5)


def test_outputs_stay_behind_a_concatenation_and_a_depthwise_convolution() -> None:
    net = Builder((8, 8, 3))
    branches = [net.relu(net.conv(net.input, 4, 3, name=name)) for name in ("left", "right")]
    x = net.depthwise(net.concat(*branches, name="both"), 3, name="depthwise")
    graph = silenced(net.graph("g", (net.conv(x, 2, name="out"),), seed=0), {"right": [0, 2]})
    smaller = without(graph, "right", [0, 2])
    assert smaller.weight("depthwise", "kernel").shape == (3, 3, 6, 1)
    images = np.random.default_rng(1).uniform(0, 1, (1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(evaluate(smaller, images)["out"], evaluate(graph, images)["out"], rtol=1e-5)


def test_weights_are_contiguous_and_the_original_is_untouched() -> None:
    graph = tiny_network()
    kernel = graph.weight("a", "kernel").copy()
    smaller = without(graph, "a", [3])
    assert all(array.flags.c_contiguous for array in smaller.weights.values())
    np.testing.assert_array_equal(graph.weight("a", "kernel"), kernel)
