"""Convolutions of codes: QLinearConv, and exact products in float for what has to be rounded later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qatkit.engine.int8.bias import IntegerSums
from qatkit.engine.int8.emit import MICROSOFT, Band, Codes, IntegerWriter, product_name
from qatkit.engine.int8.graph import Op, Size
from qatkit.engine.int8.scheme import Kernel

# Windows in work at once: what the second-level cache of a core holds, roughly.
_BAND_BYTES = 2**20
# So few channels leave most of a vector register empty.
_FEW_CHANNELS = 4


@dataclass(frozen=True)
class Operands:
    """What a convolution multiplies: codes of the image and of the kernel; and its float bias."""

    source: Codes
    kernel: Kernel
    bias: NDArray[np.float32]


def signed_parts(writer: IntegerWriter, source: Codes, kernel: NDArray[np.int8]) -> tuple[Codes, NDArray[np.int8]]:
    """A signed tensor as max(x, 0) and max(-x, 0), side by side in the channels, and the kernel O I kh kw that fits.

    Codes of 0..127 on both sides, where those up to 255 would overflow the int16 sums of CPUs without VNNI.
    """
    values = writer.dequantize(source)
    parts = [writer.quantize(part, source.scale, 0).tensor for part in (values, writer.op("Neg", [values]))]
    both = np.concatenate([kernel, -kernel], axis=1)
    return Codes(writer.op("Concat", parts, axis=3), source.scale, 0), both


def qlinear_conv(
    writer: IntegerWriter, conv: Op, source: Codes, kernel: NDArray[np.int8], sums: IntegerSums, zero: int
) -> str:
    """Sums, bias and rounding to codes of `zero` in one operation, `sums.shift` too high; saturated at 0 and 255.

    kernel: the codes of `sums`, or as `signed_parts` and `space_to_depth` rearrange them. `sums.step`: all scales.
    """
    one = writer.constant(np.float32(1))
    inputs = [
        source.tensor,
        *(one, writer.constant(np.uint8(source.zero))),
        *_weights(writer, kernel, sums.step),
        *(one, writer.constant(np.uint8(zero))),
        writer.constant(sums.bias),
    ]
    name = product_name(conv.output)
    return writer.op("QLinearConv", inputs, domain=MICROSOFT, name=name, channels_last=1, **conv.attributes)


def space_to_depth(
    writer: IntegerWriter,
    conv: Op,
    source: Codes,
    kernel: NDArray[np.int8],
    sizes: Mapping[str, Size],
) -> tuple[Op, Codes, NDArray[np.int8]]:
    """A convolution of stride 2 over the channels of an image, as one of stride 1 over 2x2 pixels side by side.

    The same sums, with zeros in the kernel; twice as fast over 3 channels, of which kernels can fill no register.
    sizes: tensor -> rows and columns, where they are known. Other convolutions are returned as they are.
    """
    size, output = sizes.get(conv.inputs[0]), sizes.get(conv.output)
    plain = conv.get("group", 1) == 1 and list(conv.get("dilations", [1, 1])) == [1, 1]
    if not plain or list(conv.get("strides", [1, 1])) != [2, 2] or kernel.shape[1] > _FEW_CHANNELS:
        return conv, source, kernel
    if size is None or output is None or size[0] % 2 or size[1] % 2:
        return conv, source, kernel
    pads = conv.get("pads", [0, 0, 0, 0])
    before = [(pads[axis] + 1) // 2 for axis in (0, 1)]
    last = [(kernel.shape[2 + axis] - 1 - pads[axis]) // 2 for axis in (0, 1)]
    after = [output[axis] - size[axis] // 2 + last[axis] for axis in (0, 1)]
    if min(after) < 0:
        return conv, source, kernel
    pairs = _of_pairs(kernel, before, last, pads)
    attributes = {"kernel_shape": list(pairs.shape[2:]), "pads": [*before, *after], "strides": [1, 1]}
    source = replace(source, tensor=_side_by_side(writer, source.tensor, size, kernel.shape[1]))
    return replace(conv, attributes=attributes), source, pairs


def _of_pairs(
    codes: NDArray[np.int8], before: Sequence[int], last: Sequence[int], pads: Sequence[int]
) -> NDArray[np.int8]:
    """Kernel O I kh kw of stride 2 -> O 4I h w, channels in the order row, column, channel of a 2x2 pixel.

    before, last: how many 2x2 pixels it reads before its own and after it, down and right. Tap k reads 2x2 pixel
    (k - pad) // 2, and there row or column (k - pad) % 2.
    """
    filters, channels, height, width = codes.shape
    down, right = (before[axis] + last[axis] + 1 for axis in (0, 1))
    row, column = (2 * before[axis] - pads[axis] for axis in (0, 1))
    taps = np.zeros((filters, channels, 2 * down, 2 * right), np.int8)
    taps[:, :, row : row + height, column : column + width] = codes
    pairs = taps.reshape(filters, channels, down, 2, right, 2).transpose(0, 3, 5, 1, 2, 4)
    return pairs.reshape(filters, 4 * channels, down, right)


def _side_by_side(writer: IntegerWriter, image: str, size: Size, channels: int) -> str:
    """[B, 2h, 2w, c] -> [B, h, w, 4c], in the order row, column, channel."""
    rows, columns = size[0] // 2, size[1] // 2
    # Pairs of columns are side by side already; a row of pairs of rows holds first the upper, then the lower one.
    pairs = writer.reshape(image, -1, rows, 2 * columns, 2 * channels)
    both = [writer.columns(pairs, start, start + columns, 1) for start in (0, columns)]
    return writer.op("Concat", both, axis=3)


def _weights(writer: IntegerWriter, codes: NDArray[np.int8], scale: NDArray[np.float32]) -> list[str]:
    return [writer.constant(codes), writer.constant(scale), writer.constant(np.zeros(len(scale), np.int8))]


def has_im2col(conv: Op, sizes: Mapping[str, Size]) -> bool:
    """Whether `Im2colConv` knows this convolution: no groups, and sizes that are known."""
    return conv.get("group", 1) == 1 and conv.output in sizes


class Im2colConv:
    """Convolution and bias as float: integer sums over the unrolled windows (im2col), scaled.

    Windows take kh * kw times the memory of the image. Band by band they stay in the cache of a core, which makes
    that of a 3x3 convolution up to a third faster. sizes: rows and columns of the image and of the output.
    """

    def __init__(self, writer: IntegerWriter, conv: Op, operands: Operands, sizes: Mapping[str, Size]) -> None:
        source, kernel = operands.source, operands.kernel
        # O I kh kw -> [kh * kw * I, O], the order of the unrolled windows.
        matrix = kernel.codes.transpose(2, 3, 1, 0).reshape(-1, len(kernel.scale))
        weights, weight_scale, weight_zero = _weights(writer, matrix, kernel.scale)
        scale, zero = writer.parameters(source.scale, source.zero)
        self._writer = writer
        self._conv = conv.output
        self._rows, self._columns = sizes[conv.output]
        self._window = len(matrix)  # bytes
        self._operands = [weights, scale, weight_scale, zero, weight_zero, writer.constant(operands.bias)]
        self._stride: int = conv.get("strides", [1, 1])[0]
        self._dilation: int = conv.get("dilations", [1, 1])[0]
        self._taps: int = kernel.codes.shape[2]
        self._lines = self._im2col_lines(conv, source, kernel.codes.shape, sizes[conv.inputs[0]][0])

    def _im2col_lines(self, conv: Op, source: Codes, kernel: Sequence[int], rows: int) -> str:
        """Every row of the padded image as the rows of the windows in it: [B, rows * columns, kw * c]."""
        writer, (_, channels, _, width) = self._writer, kernel
        padding, stride = conv.get("pads", [0, 0, 0, 0]), conv.get("strides", [1, 1])[1]
        padded = _padded(writer, source, padding)
        if width > 1 or stride > 1:
            starts = [tap * conv.get("dilations", [1, 1])[1] for tap in range(width)]
            span = (self._columns - 1) * stride + 1
            parts = [writer.columns(padded, start, start + span, stride) for start in starts]
            padded = writer.op("Concat", parts, axis=3) if width > 1 else parts[0]
        lines = (rows + padding[0] + padding[2]) * self._columns
        return writer.reshape(padded, -1, lines, width * channels)

    def bands(self) -> list[Band]:
        """Bands that cover the output."""
        height = max(_BAND_BYTES // (self._columns * self._window), 1)
        if self._moves_nothing:
            height = self._rows
        return [Band(start, min(start + height, self._rows)) for start in range(0, self._rows, height)]

    def products(self, band: Band) -> str:
        """A band of the rows of the output: float [B, h, w, c]."""
        name = product_name(self._conv, None if band.stop - band.start == self._rows else band)
        inputs = [self._windows(band), *self._operands]
        return self._writer.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT, name=name)

    @property
    def _moves_nothing(self) -> bool:
        return self._taps == 1 and self._stride == 1

    def _windows(self, band: Band) -> str:
        """[B, h, w, kh * kw * c]."""
        windows = self._lines
        if not self._moves_nothing:
            # Window (row, column) begins in line row * stride of the image and has a part in each of kh lines.
            rows = np.arange(band.start, band.stop)[:, None, None] * self._stride
            taps = np.arange(self._taps) * self._dilation
            parts = (rows + taps) * self._columns + np.arange(self._columns)[:, None]
            windows = self._writer.op(
                "Gather", [windows, self._writer.constant(parts.astype(np.int32).ravel())], axis=1
            )
        return self._writer.reshape(windows, -1, band.stop - band.start, self._columns, self._window)


def _padded(writer: IntegerWriter, source: Codes, pads: Sequence[int]) -> str:
    if not any(pads):
        return source.tensor
    top, left, bottom, right = pads
    amounts = writer.constant(np.array([0, top, left, 0, 0, bottom, right, 0]))
    return writer.op("Pad", [source.tensor, amounts, writer.constant(np.uint8(source.zero))])
