"""Fused blocks: the runs of nodes that TensorRT turns into one INT8 kernel.

A convolution takes in the batch norm that alone reads it and the activation that alone reads that; an Add takes in
its activation. Nothing is quantized inside a block; its last tensor is what the rest of the network sees.
Source: NVIDIA's rules for explicit quantization (TensorRT developer guide, Q/DQ layer placement).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from qatkit.graph.nodes import ACTIVATIONS, CONVOLUTIONS, Add, BatchNorm, Graph, Node


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
        return isinstance(self.nodes[-1], ACTIVATIONS)

    def touches(self, names: Collection[str]) -> bool:
        """Whether any node of the block is among `names`."""
        return any(node.name in names for node in self.nodes)


def fused_blocks(graph: Graph) -> tuple[Block, ...]:
    """Every node of `graph` in exactly one block, ordered by the first node of each."""
    readers = graph.consumers()
    taken: set[str] = set()
    blocks = []
    for node in graph.nodes:
        if node.name in taken:
            continue
        block = Block(tuple(_grow(graph, readers, node)))
        taken.update(member.name for member in block.nodes)
        blocks.append(block)
    return tuple(blocks)


def _grow(graph: Graph, readers: dict[str, list[Node]], first: Node) -> Iterator[Node]:
    yield first
    last = first
    for kinds in _tail(first):
        following = _sole_reader(graph, readers, last)
        if isinstance(following, kinds):
            yield following
            last = following


def _tail(first: Node) -> tuple[tuple[type[Node], ...], ...]:
    """What may follow the first node of a block, step by step; each step is optional."""
    if isinstance(first, CONVOLUTIONS):
        return (BatchNorm,), ACTIVATIONS
    if isinstance(first, (Add, BatchNorm)):
        return (ACTIVATIONS,)
    return ()


def _sole_reader(graph: Graph, readers: dict[str, list[Node]], node: Node) -> Node | None:
    if node.name in graph.outputs or len(readers[node.name]) != 1:
        return None
    return readers[node.name][0]


def conv_depth(graph: Graph) -> dict[str, int]:
    """Node name -> number of convolutions on the longest way from the image to it, its own included."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        before = max((depth[name] for name in node.inputs), default=0)
        depth[node.name] = before + isinstance(node, CONVOLUTIONS)
    return depth


def fused_add_inputs(graph: Graph, blocks: tuple[Block, ...], floating: Collection[str] = ()) -> dict[str, str]:
    """Add node -> the one of its inputs that TensorRT computes in the same kernel as the sum.

    Such an input ends in Conv or Conv-BN and nothing else reads it. Where several qualify (a projection shortcut)
    it is the one that lies deepest: the other branch is ready by then, so that the sum can ride on this one.
    Convolutions among `floating` have no INT8 kernel to ride on.
    """
    readers = graph.consumers()
    depth = conv_depth(graph)
    endings = {
        block.end for block in blocks if block.is_conv and not block.has_activation and not block.touches(floating)
    }
    fused = {}
    for node in graph.nodes:
        if not isinstance(node, Add):
            continue
        candidates = [name for name in node.inputs if name in endings and _sole_reader(graph, readers, graph[name])]
        if candidates:
            fused[node.name] = max(candidates, key=lambda name: depth[name])
    return fused
