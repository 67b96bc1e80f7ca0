"""Cutting the chosen channels out of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Conv2D, Node
from qatkit.pruning.channels import ChannelGroups, Row

Indices = NDArray[np.intp]


def kept_channels(row: Row, kept: Mapping[int, Indices]) -> Indices:
    """The indices of a tensor's channels that stay, given those of every group."""
    start, parts = 0, [np.zeros(0, np.intp)]
    for segment in row:
        parts.append(kept[segment.group] + start)
        start += segment.size
    return np.concatenate(parts)


def cut(graph: Graph, groups: ChannelGroups, kept: Mapping[int, Indices]) -> Graph:
    """`graph` with only the channels in `kept` (group -> indices): the same nodes, smaller."""
    channels = {name: kept_channels(row, kept) for name, row in groups.rows.items()}
    nodes = tuple(_resized(node, len(channels[node.name])) for node in graph.nodes)
    weights = {}
    for node in graph.nodes:
        reads = channels[node.inputs[0]] if node.inputs else channels[node.name]
        for name in node.weight_names():
            weights[name] = _sliced(node, graph.weights[name], reads, channels[node.name])
    return Graph(graph.name, nodes, weights, graph.outputs)


def _resized(node: Node, channels: int) -> Node:
    return replace(node, filters=channels) if isinstance(node, Conv2D) else node


def _sliced(node: Node, array: NDArray[np.float32], reads: Indices, writes: Indices) -> NDArray[np.float32]:
    """The part of a weight that stays: [kh, kw, in, out], [kh, kw, channels, 1] (depthwise) or [channels]."""
    if array.ndim == 1:
        return array[writes]
    if isinstance(node, Conv2D):
        return np.ascontiguousarray(array[:, :, reads][..., writes])
    return np.ascontiguousarray(array[:, :, writes])
