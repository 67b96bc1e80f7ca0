"""What of a network runs in INT8, and which tensors and convolutions do not and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from qatkit.engine.int8.emit import convolution_of
from qatkit.engine.int8.fusion import activation_after
from qatkit.engine.int8.graph import Op
from qatkit.engine.int8.scheme import Int8Scheme, with_movers
from qatkit.engine.onnx_file import OnnxFile
from qatkit.export.calibrate import float_tensors

# All of ONNX Runtime's CPU operations that multiply integers: not only those that are written, for its optimizations
# may turn these into others.
_INTEGER_PRODUCTS = (
    *("QLinearConv", "ConvInteger", "MatMulIntegerToFloat", "MatMulInteger", "QLinearMatMul"),
    *("DynamicQuantizeMatMul", "QGemm"),
)


@dataclass(frozen=True)
class Int8Report:
    """What of a network runs in INT8.

    convs: all convolutions. quantized: those that read and write INT8 tensors with an INT8 kernel. integer: those of
    them that integer operations compute; the others (depthwise ones with a curved activation) multiply the same codes
    in float, which is as exact. tensors: number of tensors held as codes. floating: output of each convolution that
    is not quantized -> why. operations: how many convolutions each kind of integer operation computes, of those that
    ONNX Runtime runs after its own optimizations.
    Of a calibration cache also the tensors that have no scale, for each of which TensorRT warns. missing_scales:
    those that are float for it, and so is what reads or writes them. fused: those inside a fused INT8 kernel, which
    needs no scale there.
    """

    convs: int
    quantized: int
    integer: int
    tensors: int
    floating: dict[str, str]
    operations: dict[str, int]
    missing_scales: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.quantized} of {self.convs} convolutions in INT8, {self.integer} of them by integer operations; "
            f"{self.tensors} INT8 tensors"
        )


def make_report(scheme: Int8Scheme, operations: Mapping[str, int], unscaled: Collection[str] = ()) -> Int8Report:
    """The report of `scheme`. operations: of `integer_operations`. unscaled: of `without_scale`, in order."""
    inner = set(_inner_tensors(scheme))
    # Batch norm that another exporter left behind a convolution was folded before the scheme was made.
    fused = tuple(name for name in unscaled if name in inner or name not in scheme.graph.tensors)
    return Int8Report(
        convs=sum(op.kind == "Conv" for op in scheme.graph.ops),
        quantized=len(scheme.blocks),
        integer=sum(operations.values()),
        tensors=len(scheme.scales),
        floating=dict(scheme.floating),
        operations=dict(operations),
        missing_scales=tuple(name for name in unscaled if name not in fused),
        fused=fused,
    )


def integer_operations(optimized: Path) -> dict[str, int]:
    """Kind of operation that multiplies integers -> number of the convolutions that it computes.

    optimized: a model that `open_session` wrote. A convolution that runs band by band counts once.
    """
    nodes = onnx.load(optimized).graph.node
    computed = {(node.op_type, convolution_of(node.name)) for node in nodes if node.op_type in _INTEGER_PRODUCTS}
    return dict(Counter(kind for kind, _ in sorted(computed)))


def without_scale(file: OnnxFile, scales: Mapping[str, float]) -> list[str]:
    """The float tensors of `file` that have none of `scales` and inherit none (max-pool and the like), in order."""
    known = with_movers(file.graph, {name: scale for name, scale in scales.items() if scale > 0})
    return [name for name in float_tensors(file.proto) if name in file.graph.tensors and name not in known]


def _inner_tensors(scheme: Int8Scheme) -> Iterator[str]:
    """The tensors that exist only inside an INT8 kernel."""
    for ops in _int8_kernels(scheme):
        for op in ops[:-1]:
            yield from op.outputs


def _int8_kernels(scheme: Int8Scheme) -> Iterator[tuple[Op, ...]]:
    """The operations of every INT8 kernel that may hold several: convolutions, and sums with their activation."""
    yield from (block.ops for block in scheme.blocks.values())
    for op in scheme.graph.ops:
        tail = activation_after(scheme.graph, op.output)
        makes_output = op.kind == "Conv" and op.output in scheme.kernels.keys() - scheme.blocks.keys()
        tensors = {*op.inputs, *(last.output for last in tail[-1:])} - scheme.graph.constants.keys()
        held = tensors <= scheme.scales.keys()
        if makes_output or (op.kind == "Add" and held):
            yield (op, *tail)
