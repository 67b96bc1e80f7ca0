"""Convolutions of an ONNX network with what TensorRT fuses to them: Conv (+ Add) (+ activation), one INT8 kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from qatkit.engine.int8.graph import OnnxGraph, Op


@dataclass(frozen=True)
class ConvBlock:
    """A convolution and what is fused to it. ops: in order, conv first. addend: the tensor added to its result."""

    ops: tuple[Op, ...]
    addend: str | None = None

    @property
    def conv(self) -> Op:
        return self.ops[0]

    @property
    def end(self) -> str:
        """The tensor that leaves the block."""
        return self.ops[-1].output

    @property
    def activation(self) -> tuple[Op, ...]:
        """What is applied after convolution and sum: one operation, none, or the two of a swish."""
        return self.ops[1:] if self.addend is None else self.ops[2:]

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that the kernel reads besides its weights."""
        image = self.conv.inputs[0]
        return (image,) if self.addend is None else (image, self.addend)


def find_blocks(
    graph: OnnxGraph, scales: Collection[str], convs: Collection[str], barriers: Collection[str]
) -> dict[str, ConvBlock]:
    """Conv output -> the longest block that begins there and reads and writes only tensors that have scales.

    convs: outputs of the convolutions with an INT8 kernel. barriers: tensors that no block may reach over, those
    that are explicitly rounded. What makes an output of the network writes float and is no block.
    """
    fused = graph.links.fused_addends(set(convs).difference(barriers))
    blocks = {}
    for op in graph.ops:
        if op.kind != "Conv" or op.output not in convs:
            continue
        grown = list(_grown(graph, op, fused, barriers))
        if grown[-1].end in graph.outputs:
            continue
        for block in reversed(grown):
            if all(name in scales for name in (*block.reads, block.end)):
                blocks[op.output] = block
                break
    return blocks


def _grown(graph: OnnxGraph, conv: Op, fused: Mapping[str, str], barriers: Collection[str]) -> Iterator[ConvBlock]:
    """The blocks that may begin at `conv`, the shortest first."""
    block = ConvBlock((conv,))
    yield block
    add = graph.sole_reader(conv.output)
    if add is not None and fused.get(add.output) == conv.output:
        (addend,) = (name for name in add.inputs if name != conv.output)
        block = ConvBlock((conv, add), addend)
        yield block
    if block.end not in barriers and (tail := activation_after(graph, block.end)):
        yield replace(block, ops=(*block.ops, *tail))


def activation_after(graph: OnnxGraph, tensor: str) -> tuple[Op, ...]:
    """The activation that alone reads `tensor`: one operation, none, or Sigmoid and Mul, a swish."""
    readers = graph.readers(tensor)
    if len(readers) == 2 and {op.kind for op in readers} == {"Sigmoid", "Mul"} and tensor not in graph.outputs:
        gate, product = sorted(readers, key=lambda op: op.kind, reverse=True)
        if graph.sole_reader(gate.output) is product:
            return gate, product
    made = graph.links.activation_after(tensor)
    reader = None if made is None else graph.maker(made)
    return () if reader is None else (reader,)
