"""The network as it is deployed: batch norm folded, padding merged into convolutions, tensors named as TAO does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from qatkit.errors import ModelError
from qatkit.export.names import TensorNames, tensor_name
from qatkit.graph.graph import Graph, select_weights
from qatkit.graph.nodes import CONVOLUTIONS, Pad, Padding
from qatkit.quantization.folding import fold, foldable


@dataclass(frozen=True)
class Deployed:
    """graph: what runs. tensors: node of `graph` -> its tensor in the ONNX file.

    origin: node of the trained network -> node of `graph` with the same output. A convolution before a folded batch
    norm and a merged padding have no tensor of their own any more and are not in it.
    """

    graph: Graph
    tensors: Mapping[str, str]
    origin: Mapping[str, str]

    @property
    def trained_tensors(self) -> dict[str, str]:
        """Node of the trained network -> ONNX tensor with its output, of those that were not merged away."""
        return {name: self.tensors[node] for name, node in self.origin.items()}


def deploy(trained: Graph, style: TensorNames = "onnx") -> Deployed:
    """Fold and merge `trained`, and name the tensors. Raises ModelError when two tensors would bear one name."""
    folded = foldable(trained)
    graph = merge_padding(fold(trained))
    # The tensor behind a folded batch norm is known by the batch norm's name, as in TAO's caches.
    tensors = {node.name: tensor_name(trained[folded.get(node.name, node.name)], style) for node in graph.nodes}
    if len(set(tensors.values())) != len(tensors):
        names = list(tensors.values())
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"two layers would make the tensor {twice}", hint="rename one of them")
    origin = {folded.get(node.name, node.name): node.name for node in graph.nodes}
    return Deployed(graph, tensors, origin)


def merge_padding(graph: Graph) -> Graph:
    """`graph` without the Pad nodes that only convolutions read: the zeros become padding of the convolution."""
    readers = graph.consumers()
    merged = {
        node.name: node
        for node in graph.nodes
        if isinstance(node, Pad)
        and node.name not in graph.outputs
        and all(isinstance(reader, CONVOLUTIONS) for reader in readers[node.name])
    }
    nodes = []
    for node in graph.nodes:
        if node.name in merged:
            continue
        if isinstance(node, CONVOLUTIONS) and (pad := merged.get(node.inputs[0])):
            node = replace(node, inputs=pad.inputs, padding=_sum(node.padding, pad.padding))
        nodes.append(node)
    return Graph(graph.name, tuple(nodes), select_weights(graph.weights, nodes), graph.outputs)


def _sum(first: Padding, second: Padding) -> Padding:
    top, left, bottom, right = (a + b for a, b in zip(first, second))
    return top, left, bottom, right
