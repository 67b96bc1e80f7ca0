"""The INT8 kernels of a plan, and the plan that leaves only one of them: what a single layer costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qatkit.graph.graph import Graph
from qatkit.quantization.blocks import Block, fused_add_inputs, fused_blocks
from qatkit.quantization.plan import QuantizationPlan


@dataclass(frozen=True)
class Kernel:
    """Layers that run as one INT8 kernel; the first one names it.

    reads: the layers whose output it reads. skip: what to name for `place` to leave the kernel out.
    """

    layers: tuple[str, ...]
    reads: tuple[str, ...]
    skip: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.layers[0]


def int8_kernels(graph: Graph, plan: QuantizationPlan) -> tuple[Kernel, ...]:
    """The kernels that compute in INT8, in graph order: convolutions with what is fused to them, sums, averages."""
    return tuple(_kernel(graph, blocks) for blocks in _fused(graph, plan))


def _kernel(graph: Graph, blocks: tuple[Block, ...]) -> Kernel:
    layers = tuple(node.name for block in blocks for node in block.nodes)
    reads = [source for name in layers for source in graph[name].inputs if source not in layers]
    return Kernel(layers, tuple(dict.fromkeys(reads)), tuple(block.first.name for block in blocks))


def _fused(graph: Graph, plan: QuantizationPlan) -> Iterator[tuple[Block, ...]]:
    """The blocks of each kernel: one, or a convolution and the sum that rides on it."""
    blocks = fused_blocks(graph)
    floating = {block.first.name for block in blocks if block.is_conv} - set(plan.weights)
    # With TAO's placement a convolution before a sum has a range of its own: they are two kernels.
    sum_on = {
        end: add for add, end in fused_add_inputs(graph, blocks, floating).items() if plan.range_source(end) is None
    }
    by_first = {block.first.name: block for block in blocks}
    for block in blocks:
        if block.first.name in plan.weights:
            add = sum_on.get(block.end)
            yield (block,) if add is None else (block, by_first[add])
        elif block.first.name not in sum_on.values() and _computes_on_codes(block, plan):
            yield (block,)


def _computes_on_codes(block: Block, plan: QuantizationPlan) -> bool:
    sources = [plan.range_source(name) for name in block.first.inputs]
    return block.first.int8 == "computes" and None not in sources


def only(plan: QuantizationPlan, kernel: Kernel) -> QuantizationPlan:
    """`plan` without all other kernels: what `kernel` reads and writes is quantized, and its weights."""
    touched = {plan.range_source(name) for name in (*kernel.reads, *kernel.layers)}
    return QuantizationPlan(
        placement=plan.placement,
        activations=tuple(name for name in plan.activations if name in touched),
        weights=tuple(name for name in plan.weights if name in kernel.layers),
        shared={name: source for name, source in plan.shared.items() if source in touched},
        skip=plan.skip,
    )
