"""Writes a network of integer operations: the two forms of a tensor, codes and floats, and the ways between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from qatkit.quantization.folding import CODE_MAX

MICROSOFT = "com.microsoft"
# The zero point of tensors that may be negative.
SIGNED_ZERO_POINT = 128
_ROWS = " rows from "
TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Codes:
    """A uint8 tensor [B, h, w, c]: value = (code - zero) * scale. zero is 0 or 128."""

    tensor: str
    scale: float
    zero: int


@dataclass(frozen=True)
class Band:
    """Rows start..stop of an image, without the last."""

    start: int
    stop: int


def product_name(conv: str, band: Band | None = None) -> str:
    """Name of the operation that multiplies integers for the convolution that makes tensor `conv`, or for a band."""
    return conv if band is None else f"{conv}{_ROWS}{band.start}"


def convolution_of(name: str) -> str:
    """Inverse of `product_name`, for all bands the same."""
    return name.partition(_ROWS)[0]


class IntegerWriter:
    """Collects operations and constants; every method adds some and returns the tensor they make."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def op(
        self, kind: str, inputs: Sequence[str], output: str = "", domain: str = "", name: str = "", **attributes: Any
    ) -> str:
        number = len(self.nodes)
        output = output or f"int8/{number}"
        name = name or f"{kind}_{number}"
        node = helper.make_node(kind, inputs, [output], name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, value: NDArray[Any] | np.generic, name: str = "") -> str:
        name = name or f"int8/constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def parameters(self, scale: float, zero: int) -> tuple[str, str]:
        """Scale and zero point of uint8 codes."""
        return self.constant(np.float32(scale)), self.constant(np.uint8(zero))

    def dequantize(self, codes: Codes) -> str:
        """Codes -> float, in the same layout."""
        return self.op("DequantizeLinear", [codes.tensor, *self.parameters(codes.scale, codes.zero)])

    def quantize(self, values: str, scale: float, zero: int, output: str = "") -> Codes:
        """float [B, h, w, c] -> codes, rounded half to even."""
        rounded = self.op("QuantizeLinear", [values, *self.parameters(scale, zero)])
        return Codes(self.clamp(rounded, zero, output=output), scale, zero)

    def clamp(self, codes: str, zero: int, limit: int = CODE_MAX, output: str = "") -> str:
        """Keep codes within -127..127, or 0..limit: saturation alone stops at -128 and 255.

        As Clip: ONNX Runtime has Min and Max of uint8 only since 1.24, which does not exist for Python 3.10.
        """
        if zero == 0:
            return self.op("Clip", [codes, "", self.constant(np.uint8(limit))], output)
        return self.op("Clip", [codes, self.constant(np.uint8(SIGNED_ZERO_POINT - CODE_MAX))], output)

    def rows(self, codes: Codes, band: Band) -> Codes:
        """A band of the rows of `codes`."""
        return replace(codes, tensor=self._slice(codes.tensor, band.start, band.stop, 1, 1))

    def columns(self, tensor: str, start: int, stop: int, step: int) -> str:
        """Columns start..stop of [B, h, w, c], without the last, every `step`-th of them."""
        return self._slice(tensor, start, stop, 2, step)

    def _slice(self, tensor: str, start: int, stop: int, axis: int, step: int) -> str:
        bounds = [self.constant(np.array([value])) for value in (start, stop, axis, step)]
        return self.op("Slice", [tensor, *bounds])

    def reshape(self, tensor: str, *shape: int) -> str:
        """shape: one may be -1, which is found."""
        return self.op("Reshape", [tensor, self.constant(np.array(shape))])

    def subtract(self, codes: str, shift: NDArray[np.uint8], columns: int) -> str:
        """Codes [B, h, w, c] less `shift` by channel, saturated at 0. shift: 0..128; columns: w, 1 if unknown."""
        one, zero = self.parameters(1.0, 0)
        middle = self.constant(np.uint8(SIGNED_ZERO_POINT))
        # Spelled out for a whole row, it is three times as fast as channel by channel.
        row = self.constant(np.tile(SIGNED_ZERO_POINT - shift, (1, 1, columns, 1)))
        return self.op("QLinearAdd", [codes, one, zero, row, one, middle, one, zero], domain=MICROSOFT)

    def to_nchw(self, tensor: str) -> str:
        return self.op("Transpose", [tensor], perm=TO_NCHW)

    def to_nhwc(self, tensor: str) -> str:
        return self.op("Transpose", [tensor], perm=TO_NHWC)
