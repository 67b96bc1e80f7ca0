"""Convolutions of codes: QLinearConv, and exact products in float for what has to be rounded later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qatkit.engine.int8_scheme import Kernel
from qatkit.engine.int8_writer import MICROSOFT, Codes, IntegerWriter
from qatkit.engine.onnx_graph import Op

# QLinearConv's bias is int32; one above this would not leave room for the products.
_BIAS_MAX = 2**30
_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Operands:
    """What a convolution multiplies: codes of the image and of the kernel; and its float bias."""

    source: Codes
    kernel: Kernel
    bias: NDArray[np.float32]


def signed_parts(writer: IntegerWriter, source: Codes, kernel: Kernel) -> tuple[Codes, Kernel]:
    """A signed tensor as max(x, 0) and max(-x, 0), side by side in the channels, and the kernel that fits.

    Codes of 0..127 on both sides, where those up to 255 would overflow the int16 sums of CPUs without VNNI.
    """
    values = writer.dequantize(source)
    parts = [writer.quantize(part, source.scale, 0).tensor for part in (values, writer.op("Neg", [values]))]
    both = Kernel(np.concatenate([kernel.codes, -kernel.codes], axis=1), kernel.scale)
    return Codes(writer.op("Concat", parts, axis=3), source.scale, 0), both


def qlinear_conv(writer: IntegerWriter, conv: Op, operands: Operands, scale: float, zero: int) -> str:
    """Convolution, bias and rounding to codes of `scale` and `zero` in one operation; saturated at 0 and 255."""
    source = operands.source
    bias, kernel = _integer_bias(operands)
    inputs = [
        source.tensor,
        *writer.parameters(source.scale, source.zero),
        *_weights(writer, kernel.codes, kernel.scale),
        *writer.parameters(scale, zero),
        writer.constant(bias),
    ]
    return writer.op("QLinearConv", inputs, domain=MICROSOFT, channels_last=1, **conv.attributes)


def _weights(writer: IntegerWriter, codes: NDArray[np.int8], scale: NDArray[np.float32]) -> list[str]:
    return [writer.constant(codes), writer.constant(scale), writer.constant(np.zeros(len(scale), np.int8))]


def _integer_bias(operands: Operands) -> tuple[NDArray[np.int32], Kernel]:
    """The bias in units of source.scale * kernel.scale, which a unit of the integer sum stands for.

    A channel whose weights are so small that its bias would not fit gets a larger scale: its weights vanish beside
    the bias, as they do in the sum.
    """
    kernel, unit, bias = operands.kernel, np.float64(np.float32(operands.source.scale)), operands.bias
    smallest = np.abs(bias.astype(np.float64)) / (unit * _BIAS_MAX)
    scale = np.maximum(kernel.scale, smallest.astype(np.float32))
    ratio = (kernel.scale.astype(np.float64) / scale).reshape(-1, 1, 1, 1)
    integers = np.rint(bias / (unit * scale)).astype(np.int32)
    return integers, Kernel(np.rint(kernel.codes * ratio).astype(np.int8), scale)


def can_unroll(conv: Op) -> bool:
    """Whether `exact_products` knows this convolution: no groups, padding spelled out."""
    return conv.get("group", 1) == 1 and conv.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")


def exact_products(writer: IntegerWriter, conv: Op, operands: Operands) -> str:
    """Convolution and bias as float [B, h, w, c]: integer sums over the unrolled windows, scaled."""
    source, kernel = operands.source, operands.kernel
    # O I kh kw -> [kh * kw * I, O], the order of the unrolled windows.
    matrix = kernel.codes.transpose(2, 3, 1, 0).reshape(-1, len(kernel.scale))
    weights, weight_scale, weight_zero = _weights(writer, matrix, kernel.scale)
    scale, zero = writer.parameters(source.scale, source.zero)
    windows = _windows(writer, source, conv, kernel.codes.shape[2:])
    inputs = [windows, weights, scale, weight_scale, zero, weight_zero, writer.constant(operands.bias)]
    return writer.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


def _windows(writer: IntegerWriter, source: Codes, conv: Op, size: Sequence[int]) -> str:
    """The windows of a convolution unrolled (im2col): [B, h, w, kh * kw * c]."""
    strides, dilations = conv.get("strides", [1, 1]), conv.get("dilations", [1, 1])
    padded = _padded(writer, source, conv.get("pads", [0, 0, 0, 0]))
    if tuple(size) == (1, 1) and tuple(strides) == (1, 1):
        return padded
    axes, steps = writer.constant(np.array([1, 2])), writer.constant(np.array(strides))
    views = []
    for row, column in np.ndindex(*size):
        # Each tap sees the image without what only earlier and only later taps see.
        before = np.array([row * dilations[0], column * dilations[1]])
        after = np.array([(size[0] - 1 - row) * dilations[0], (size[1] - 1 - column) * dilations[1]])
        ends = np.where(after > 0, -after, _LAST)
        views.append(writer.op("Slice", [padded, writer.constant(before), writer.constant(ends), axes, steps]))
    return views[0] if len(views) == 1 else writer.op("Concat", views, axis=3)


def _padded(writer: IntegerWriter, source: Codes, pads: Sequence[int]) -> str:
    if not any(pads):
        return source.tensor
    top, left, bottom, right = pads
    amounts = writer.constant(np.array([0, top, left, 0, 0, bottom, right, 0]))
    return writer.op("Pad", [source.tensor, amounts, writer.constant(np.uint8(source.zero))])
