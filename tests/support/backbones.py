"""Backbones with heads, smaller and with weights that keep signals alive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from qatkit.graph import nodes as n
from qatkit.graph.graph import Graph
from qatkit.pruning.prune import PruneOptions, PruneResult, prune
from qatkit.spec import ModelConfig
from tests.support.networks import random_weights

# The filters of `random_weights` have norms 0.5 to 2 times those that keep a signal's size.
_GAIN = np.float32(1.32)


def config(arch: str = "resnet", num_layers: int = 18, **fields: Any) -> ModelConfig:
    settings = {"use_batch_norm": True, "all_projections": True, **fields}
    result = ModelConfig(arch=arch, num_layers=num_layers, **settings)
    result.objective_set.bbox.SetInParent()
    result.objective_set.cov.SetInParent()
    return result


def pruned_to(graph: Graph, filters: int) -> PruneResult:
    """`graph` with no more than `filters` filters per layer: no filter is above the threshold."""
    return prune(graph, PruneOptions(threshold=2, granularity=8, min_num_filters=filters))


def with_lively_weights(graph: Graph) -> Graph:
    """`graph` with random weights that keep signals alive and rounding errors small through many layers.

    Most units are active, residual branches are small beside their shortcuts; batch-norm statistics become those of
    the first training batch.
    """
    nodes = tuple(replace(node, momentum=0.0) if isinstance(node, n.BatchNorm) else node for node in graph.nodes)
    weights = random_weights([(node, graph.input_shapes(node)) for node in nodes], seed=1)
    rng = np.random.default_rng(2)
    for node in nodes:
        if isinstance(node, n.CONVOLUTIONS):
            weights[f"{node.name}/kernel"] /= _GAIN
        elif isinstance(node, n.BatchNorm):
            weights[f"{node.name}/beta"] = rng.uniform(0.5, 1.5, graph.shape(node.name)[2]).astype(np.float32)
    for node in nodes:
        if isinstance(node, n.Add):
            end = branch_end(graph, node)
            weights[f"{end.name}/{'gamma' if isinstance(end, n.BatchNorm) else 'kernel'}"] /= 2
    return Graph(graph.name, nodes, weights, graph.outputs)


def branch_end(graph: Graph, add: n.Node) -> n.Node:
    """The last node with weights of the branch that is added to a shortcut: the one that comes latest."""
    position = {node.name: index for index, node in enumerate(graph.nodes)}
    node = graph[max(add.inputs, key=position.__getitem__)]
    while not node.parts:
        node = graph[node.inputs[0]]
    return node
