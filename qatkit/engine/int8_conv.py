"""Convolutions of codes: QLinearConv, and exact products in float for what has to be rounded later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qatkit.engine.int8_bias import IntegerSums
from qatkit.engine.int8_scheme import Kernel
from qatkit.engine.int8_writer import MICROSOFT, Band, Codes, IntegerWriter, product_name
from qatkit.engine.onnx_graph import Op

_LAST = np.iinfo(np.int64).max
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

    kernel: the codes of `sums`, or what `signed_parts` and `denser` made of them. `sums.step` holds all the scales.
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


def denser(
    writer: IntegerWriter,
    conv: Op,
    source: Codes,
    kernel: NDArray[np.int8],
    sizes: Mapping[str, tuple[int, int]],
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


def _side_by_side(writer: IntegerWriter, image: str, size: tuple[int, int], channels: int) -> str:
    """[B, 2h, 2w, c] -> [B, h, w, 4c], in the order row, column, channel."""
    rows, columns = size[0] // 2, size[1] // 2
    # Pairs of columns are side by side already; a row of pairs of rows holds first the upper, then the lower one.
    pairs = writer.op("Reshape", [image, writer.constant(np.array([-1, rows, 2 * columns, 2 * channels]))])
    both = [writer.columns(pairs, start, start + columns) for start in (0, columns)]
    return writer.op("Concat", both, axis=3)


def _weights(writer: IntegerWriter, codes: NDArray[np.int8], scale: NDArray[np.float32]) -> list[str]:
    return [writer.constant(codes), writer.constant(scale), writer.constant(np.zeros(len(scale), np.int8))]


def can_unroll(conv: Op) -> bool:
    """Whether `UnrolledConv` knows this convolution: no groups, padding spelled out."""
    return conv.get("group", 1) == 1 and conv.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")


class UnrolledConv:
    """Convolution and bias as float: integer sums over the unrolled windows (im2col), scaled.

    Windows take kh * kw times the memory of the image. Band by band they stay in the cache of a core, which makes
    that of a 3x3 convolution up to a third faster.
    """

    def __init__(self, writer: IntegerWriter, conv: Op, operands: Operands) -> None:
        source, kernel = operands.source, operands.kernel
        # O I kh kw -> [kh * kw * I, O], the order of the unrolled windows.
        matrix = kernel.codes.transpose(2, 3, 1, 0).reshape(-1, len(kernel.scale))
        weights, weight_scale, weight_zero = _weights(writer, matrix, kernel.scale)
        scale, zero = writer.parameters(source.scale, source.zero)
        self._writer = writer
        self._conv = conv.output
        self._size = kernel.codes.shape[2:]
        self._window = len(matrix)  # bytes
        self._strides, self._dilations = conv.get("strides", [1, 1]), conv.get("dilations", [1, 1])
        self._padded = _padded(writer, source, conv.get("pads", [0, 0, 0, 0]))
        self._operands = [weights, scale, weight_scale, zero, weight_zero, writer.constant(operands.bias)]

    def bands(self, size: tuple[int, int] | None) -> list[Band | None]:
        """Bands that cover an output of `size` rows and columns; [None], all of it, where none are needed."""
        if size is None or self._moves_nothing:
            return [None]
        rows, columns = size
        height = max(_BAND_BYTES // (columns * self._window), 1)
        if height >= rows:
            return [None]
        return [Band(start, min(start + height, rows)) for start in range(0, rows, height)]

    def products(self, band: Band | None = None) -> str:
        """The output, or a band of its rows: float [B, h, w, c]."""
        windows = self._padded if self._moves_nothing else self._windows(band)
        name = product_name(self._conv, band)
        return self._writer.op("MatMulIntegerToFloat", [windows, *self._operands], domain=MICROSOFT, name=name)

    @property
    def _moves_nothing(self) -> bool:
        return tuple(self._size) == (1, 1) and tuple(self._strides) == (1, 1)

    def _windows(self, band: Band | None) -> str:
        """[B, h, w, kh * kw * c]."""
        axes, steps = self._writer.constant(np.array([1, 2])), self._writer.constant(np.array(self._strides))
        views = []
        for tap in np.ndindex(*self._size):
            begins, ends = zip(self._rows(tap[0], band), self._taps(1, tap[1]))
            bounds = [self._writer.constant(np.array(values)) for values in (begins, ends)]
            views.append(self._writer.op("Slice", [self._padded, *bounds, axes, steps]))
        return views[0] if len(views) == 1 else self._writer.op("Concat", views, axis=3)

    def _rows(self, row: int, band: Band | None) -> tuple[int, int]:
        """First row that tap row `row` sees, and the one after its last."""
        if band is None:
            return self._taps(0, row)
        first = row * self._dilations[0]
        return first + band.start * self._strides[0], first + (band.stop - 1) * self._strides[0] + 1

    def _taps(self, axis: int, tap: int) -> tuple[int, int]:
        """Each tap sees the image without what only earlier and only later taps see."""
        before, after = tap * self._dilations[axis], (self._size[axis] - 1 - tap) * self._dilations[axis]
        return before, -after if after else _LAST


def _padded(writer: IntegerWriter, source: Codes, pads: Sequence[int]) -> str:
    if not any(pads):
        return source.tensor
    top, left, bottom, right = pads
    amounts = writer.constant(np.array([0, top, left, 0, 0, bottom, right, 0]))
    return writer.op("Pad", [source.tensor, amounts, writer.constant(np.uint8(source.zero))])
