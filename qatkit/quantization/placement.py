"""Which tensors and kernels of a network are quantized: the policy, apart from the mechanism that obeys it.

`tensorrt` follows TensorRT's fusion rules, so that nothing is rounded where a fused kernel does not round.
`tao` repeats what TAO's converter does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import get_args

from qatkit.choices import PLACEMENT
from qatkit.errors import UsageError
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import CONVOLUTIONS, Concat, Input
from qatkit.quantization.blocks import Block, fused_add_inputs, fused_blocks
from qatkit.quantization.plan import Placement, QuantizationPlan
from qatkit.quantization.tao_placement import place_tao

__all__ = ["Placement", "QuantizationPlan", "explain", "place"]


def place(graph: Graph, mode: Placement = PLACEMENT, skip: Sequence[str] = ()) -> QuantizationPlan:
    """Decide what is quantized in `graph`.

    skip: layer names or patterns (`block_4*`). With `tensorrt`, the block that a named layer belongs to computes in
    floating point; what it reads and writes is still quantized where another INT8 layer reads it. With `tao`, nothing
    follows a named layer, as with the layers that TAO itself leaves alone.

    Raises UsageError when a pattern fits no layer.
    """
    skipped = _matches(graph, skip)
    if mode == "tensorrt":
        return _place_tensorrt(graph, skipped, tuple(skip))
    if mode == "tao":
        return place_tao(graph, skipped, tuple(skip))
    raise UsageError(f"unknown placement {mode!r}", hint=f"one of {', '.join(get_args(Placement))}")


def _matches(graph: Graph, patterns: Iterable[str]) -> set[str]:
    names = [node.name for node in graph.nodes if not isinstance(node, Input)]
    found: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if fnmatchcase(name, pattern)}
        if pattern == graph.input.name:
            raise UsageError(f"skip_layers: {pattern} is the image", hint="name the layers that read it instead")
        if not matching:
            raise UsageError(f"skip_layers: no layer is called {pattern}", hint="export --show_plan lists them")
        found |= matching
    return found


def _place_tensorrt(graph: Graph, skipped: set[str], skip: tuple[str, ...]) -> QuantizationPlan:
    blocks = fused_blocks(graph)
    skipped = {node.name for block in blocks if block.touches(skipped) for node in block.nodes}
    heads = {node.name for block in blocks if block.end in graph.outputs for node in block.nodes}
    shared = _shared_by_concat(graph, blocks, skipped) | _shared_by_movers(graph)
    carriers = _carriers(graph, blocks, skipped, heads, shared)
    floating = skipped | heads
    return QuantizationPlan(
        placement="tensorrt",
        activations=tuple(node.name for node in graph.nodes if node.name in carriers),
        weights=tuple(
            node.name for node in graph.nodes if isinstance(node, CONVOLUTIONS) and node.name not in floating
        ),
        shared={
            node.name: _root(shared, node.name)
            for node in graph.nodes
            if node.name in shared and _root(shared, node.name) in carriers
        },
        skip=skip,
    )


def _shared_by_movers(graph: Graph) -> dict[str, str]:
    return {node.name: node.inputs[0] for node in graph.nodes if node.int8 == "moves"}


def _shared_by_concat(graph: Graph, blocks: tuple[Block, ...], skipped: set[str]) -> dict[str, str]:
    """What only a Concat reads takes the range of the Concat.

    Rounding commutes with concatenation, so the branch is rounded once instead of twice, and TensorRT writes it in
    place; two ranges would cost a pass over the tensor that converts one scale to the other.
    """
    shared = {}
    for block in blocks:
        reader = graph.links.sole_reader(block.end)
        if reader is None or isinstance(block.first, Input) or block.first.int8 == "moves":
            continue
        if isinstance(graph[reader], Concat) and reader not in skipped:
            shared[block.end] = reader
    return shared


def _root(shared: Mapping[str, str], name: str) -> str:
    while name in shared:
        name = shared[name]
    return name


def _carriers(
    graph: Graph, blocks: tuple[Block, ...], skipped: set[str], heads: set[str], shared: Mapping[str, str]
) -> set[str]:
    """Nodes whose output a quantized operation reads, at once or through operations that only move codes.

    The heads compute in floating point, but what they read is quantized, as in TAO.
    """
    inner = {node.name for block in blocks for node in block.nodes[1:]}
    fused = fused_add_inputs(graph, blocks, floating=skipped | heads)
    readers = graph.consumers()
    needed: set[str] = set()
    for node in reversed(graph.nodes):
        for reader in readers[node.name]:
            if reader.name in inner or fused.get(reader.name) == node.name:
                continue
            if reader.int8 == "moves":
                is_int8 = reader.name in needed
            else:  # it computes on codes, so what it reads has to be quantized
                is_int8 = reader.int8 != "float" and reader.name not in skipped
            if is_int8:
                needed.add(node.name)
    return needed - set(shared)


def explain(graph: Graph, plan: QuantizationPlan) -> list[tuple[str, str, str, str]]:
    """The plan for people: per fused block its last layer, its operations, its kernel and its output."""
    blocks = fused_blocks(graph)
    floating = {node.name for node in graph.nodes if isinstance(node, CONVOLUTIONS)} - set(plan.weights)
    added = {name: add for add, name in fused_add_inputs(graph, blocks, floating).items()}
    return [(block.end, block.kind, _kernel(block, plan), _output(block, plan, added)) for block in blocks]


def _kernel(block: Block, plan: QuantizationPlan) -> str:
    if not block.is_conv:
        return ""
    return "int8" if block.first.name in plan.weights else "float"


def _output(block: Block, plan: QuantizationPlan, added: Mapping[str, str]) -> str:
    inner = [node.name for node in block.nodes[:-1] if node.name in plan.activations]
    also = f", also {', '.join(inner)}" if inner else ""
    if block.end in plan.activations:
        return f"int8{also}"
    if block.end in plan.shared:
        return f"int8, range of {plan.shared[block.end]}{also}"
    return f"added inside {added[block.end]}{also}" if block.end in added else f"float{also}"
