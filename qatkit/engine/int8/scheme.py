"""What of a network runs in INT8, as TensorRT would have it.

Two sources give the same scheme: a float ONNX with a calibration cache (TensorRT 8 to 10, implicit quantization), or
an ONNX with QuantizeLinear/DequantizeLinear (explicit quantization). A convolution runs in INT8 when what its kernel
reads and writes has a scale; nothing is rounded inside a fused kernel; outputs of the network stay float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qatkit.engine.int8.fusion import ConvBlock, activation_after, find_blocks
from qatkit.engine.int8.graph import OnnxGraph, Op
from qatkit.errors import ModelError
from qatkit.export.cache import is_usable
from qatkit.quantization.folding import weight_codes

# What TensorRT has INT8 kernels for besides convolutions; an Add together with its activation.
_INT8_ROLES = ("moves", "joins", "computes")
_QDQ = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Kernel:
    """codes: int8 O I kh kw. scale: float32 per output channel."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]

    @property
    def values(self) -> NDArray[np.float32]:
        """The float kernel that the codes stand for."""
        return (self.codes * self.scale.reshape(-1, 1, 1, 1)).astype(np.float32)


@dataclass(frozen=True)
class Int8Scheme:
    """graph: the float network, without Q/DQ. scales: the tensors that are held in INT8 -> scale.

    blocks: the kernels that multiply integers and write a tensor of `scales`, by the output of their convolution.
    kernels: the INT8 kernels of those and of convolutions with a float result, by the output of the convolution.
    floating: output of every other convolution -> why it computes in float.
    """

    graph: OnnxGraph
    scales: Mapping[str, float]
    blocks: Mapping[str, ConvBlock]
    kernels: Mapping[str, Kernel]
    floating: Mapping[str, str]


def has_qdq(graph: OnnxGraph) -> bool:
    """Whether the file spells out its quantization."""
    return any(op.kind in _QDQ for op in graph.ops)


def from_cache(graph: OnnxGraph, scales: Mapping[str, float]) -> Int8Scheme:
    """The scheme of TensorRT's implicit quantization. scales: tensor -> scale, of a calibration cache.

    Kernels are rounded per output channel with max|w| / 127. A tensor that no INT8 kernel reads or writes stays
    float. Raises ModelError when no name of the cache is a tensor of the network.
    """
    known = {name: scale for name, scale in scales.items() if name in graph.tensors and scale > 0}
    if not known:
        raise ModelError(
            "the calibration cache names no tensor of this ONNX", hint="it was written for another file or naming"
        )
    known = with_movers(graph, known)
    kernels = {
        op.output: Kernel(*weight_codes(graph.constants[op.inputs[1]], 0))
        for op in graph.ops
        if op.kind == "Conv" and op.inputs[1] in graph.constants and op.inputs[0] in known
    }
    blocks = find_blocks(graph, known, kernels, barriers=())
    used = {name: kernel for name, kernel in kernels.items() if name in blocks or _makes_output(graph, name, known)}
    held = _held(graph, known, blocks)
    return Int8Scheme(graph, held, blocks, used, dict(_floating(graph, known, used, blocks)))


def _makes_output(graph: OnnxGraph, conv: str, scales: Mapping[str, float]) -> bool:
    """Whether `conv`, with its activation, makes an output of the network that has a scale.

    TensorRT then runs an INT8 kernel that writes float, as the outputs of a network are bound as float.
    """
    tail = activation_after(graph, conv)
    end = tail[-1].output if tail else conv
    return end in graph.outputs and end in scales


def _held(graph: OnnxGraph, scales: Mapping[str, float], blocks: Mapping[str, ConvBlock]) -> dict[str, float]:
    """The tensors that an INT8 kernel reads or writes: a fused convolution, or an operation of `_INT8_ROLES`."""
    inside = {op.output for block in blocks.values() for op in block.ops}
    held = {name for block in blocks.values() for name in (*block.reads, block.end)}
    for op in graph.ops:
        if op.int8 not in _INT8_ROLES or op.output in inside:
            continue
        tail = activation_after(graph, op.output) if op.kind == "Add" else ()
        end = tail[-1].output if tail else op.output
        tensors = {*_tensors_read(graph, op), end}
        if tensors <= scales.keys() and end not in graph.outputs:
            held |= tensors
    return {name: scale for name, scale in scales.items() if name in held}


def _tensors_read(graph: OnnxGraph, op: Op) -> set[str]:
    return {name for name in op.inputs if name and name not in graph.constants}


def from_qdq(graph: OnnxGraph) -> Int8Scheme:
    """The scheme that the Q/DQ nodes of `graph` spell out.

    Raises ModelError when they are not of the form that TensorRT wants: int8, zero point 0, constant scales, every
    reader of a quantized tensor reading the same rounded values.
    """
    clean, scales, kernels = _without_qdq(graph)
    moved = with_movers(clean, scales)
    # Rounding commutes with Concat: what only a quantized Concat reads can as well be rounded before it.
    joined = {
        name: moved[op.output]
        for op in clean.ops
        if op.kind == "Concat" and op.output in moved
        for name in op.inputs
        if name not in moved and clean.sole_reader(name) is op
    }
    blocks = find_blocks(clean, moved | joined, kernels, barriers=scales)
    ends = {block.end for block in blocks.values()}
    held = moved | {name: scale for name, scale in joined.items() if name in ends}
    return Int8Scheme(clean, held, blocks, kernels, dict(_floating(clean, held, kernels, blocks)))


def with_movers(graph: OnnxGraph, scales: Mapping[str, float]) -> dict[str, float]:
    """`scales`, with those of what movers make where it has none of its own."""
    result = dict(scales)
    for op in graph.ops:
        if op.int8 == "moves" and op.inputs[0] in result:
            result.setdefault(op.output, result[op.inputs[0]])
    return result


def _without_qdq(graph: OnnxGraph) -> tuple[OnnxGraph, dict[str, float], dict[str, Kernel]]:
    """The network without Q/DQ, the scale of each quantized tensor, the kernel of each conv by its output."""
    alias: dict[str, str] = {}
    scales: dict[str, float] = {}
    weights: dict[str, Kernel] = {}
    ops = []
    for op in graph.ops:
        if op.kind not in _QDQ:
            ops.append(replace(op, inputs=tuple(alias.get(name, name) for name in op.inputs)))
            continue
        scale = _checked_scale(graph, op)
        source = alias.get(op.inputs[0], op.inputs[0])
        if source in graph.constants:
            weights[op.output] = Kernel(graph.constants[source], scale.reshape(-1))
            continue
        alias[op.output] = source
        if scale.size != 1 or scales.setdefault(source, float(scale.reshape(()))) != float(scale.reshape(())):
            raise ModelError(f"tensor {source}: quantized with several scales")
        if op.kind == "QuantizeLinear" and len(graph.readers(source)) > 1:
            raise ModelError(f"tensor {source}: read both quantized and in float")
    constants = graph.constants | {name: kernel.values for name, kernel in weights.items()}
    kernels = {op.output: weights[op.inputs[1]] for op in ops if op.kind == "Conv" and op.inputs[1] in weights}
    return replace(graph, ops=tuple(ops), constants=constants), scales, kernels


def _checked_scale(graph: OnnxGraph, op: Op) -> NDArray[np.float32]:
    scale = graph.constants.get(op.inputs[1])
    zero = graph.constants.get(op.inputs[2]) if len(op.inputs) > 2 else None
    if scale is None or zero is None or zero.dtype != np.int8 or zero.any():
        raise ModelError(
            f"{op.kind} of {op.inputs[0]}: not as TensorRT wants it", hint="int8, zero point 0, constant scale"
        )
    if odd := [value for value in np.ravel(scale) if not is_usable(float(value))]:
        raise ModelError(
            f"{op.kind} of {op.inputs[0]}: its scale {odd[0]:.3g} makes no sense",
            hint="a scale is a tensor's largest magnitude / 127; export again",
        )
    return np.asarray(scale, np.float32)


def _floating(
    graph: OnnxGraph,
    scales: Mapping[str, float],
    kernels: Mapping[str, Kernel],
    blocks: Mapping[str, ConvBlock],
) -> Iterator[tuple[str, str]]:
    for op in graph.ops:
        if op.kind != "Conv" or op.output in blocks:
            continue
        if op.inputs[0] not in scales:
            yield op.output, f"its input {op.inputs[0]} has no scale"
        elif op.output in kernels:
            yield op.output, "INT8 kernel, float result"
        else:
            yield op.output, "its output has no scale"
