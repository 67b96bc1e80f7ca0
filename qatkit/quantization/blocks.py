"""Fused blocks: the runs of nodes that TensorRT turns into one INT8 kernel.

A convolution takes in the batch norm that alone reads it and the activation that alone reads that; an Add takes in
its activation. Nothing is quantized inside a block; its last tensor is what the rest of the network sees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from qatkit.graph.graph import Graph
from qatkit.graph.nodes import CONVOLUTIONS, Activation, Add, BatchNorm, Node


@dataclass(frozen=True)
class Block:
    """Nodes that run as one kernel, in graph order."""

    nodes: tuple[Node, ...]

    @property
    def first(self) -> Node:
        return self.nodes[0]

    @property
    def end(self) -> str:
        """Name of the node whose output leaves the block."""
        return self.nodes[-1].name

    @property
    def kind(self) -> str:
        """For people: `Conv2D-BatchNorm-Relu`."""
        return "-".join(node.op for node in self.nodes)

    @property
    def is_conv(self) -> bool:
        return isinstance(self.first, CONVOLUTIONS)

    @property
    def has_activation(self) -> bool:
        return isinstance(self.nodes[-1], Activation)

    def touches(self, names: Collection[str]) -> bool:
        """Whether any node of the block is among `names`."""
        return any(node.name in names for node in self.nodes)


def fused_blocks(graph: Graph) -> tuple[Block, ...]:
    """Every node of `graph` in exactly one block, ordered by the first node of each."""
    taken: set[str] = set()
    blocks = []
    for node in graph.nodes:
        if node.name in taken:
            continue
        block = Block(tuple(_grow(graph, node)))
        taken.update(member.name for member in block.nodes)
        blocks.append(block)
    return tuple(blocks)


def _grow(graph: Graph, first: Node) -> Iterator[Node]:
    yield first
    last = first
    for kind in _tail(first):
        following = graph.links.sole_reader(last.name)
        if following is not None and isinstance(graph[following], kind):
            last = graph[following]
            yield last


def _tail(first: Node) -> tuple[type[Node], ...]:
    """What may follow the first node of a block, step by step; each step is optional."""
    if isinstance(first, CONVOLUTIONS):
        return BatchNorm, Activation
    return (Activation,) if isinstance(first, (Add, BatchNorm)) else ()


def fused_add_inputs(graph: Graph, blocks: tuple[Block, ...], floating: Collection[str] = ()) -> dict[str, str]:
    """Add node -> the one of its inputs that TensorRT computes in the same kernel as the sum, of those that may.

    Such an input ends in Conv or Conv-BN. Convolutions among `floating` have no INT8 kernel to ride on.
    """
    convs = (block for block in blocks if block.is_conv and not block.touches(floating))
    return graph.links.fused_addends({block.end for block in convs if not block.has_activation})
