"""How far the tensors of an INT8 network are from those of its float network, and whether their ranges are why.

Both networks see the same images. The INT8 one runs from its Q/DQ file with float arithmetic: the values of its
quantized tensors are what their codes stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qatkit.engine.int8.graph import OnnxGraph
from qatkit.engine.onnx_file import OnnxFile
from qatkit.errors import ModelError
from qatkit.export.calibrate import tensor_values
from qatkit.quantization.calibration.calibrators import percentile
from qatkit.quantization.calibration.histogram import Histogram
from qatkit.quantization.folding import CODE_MAX

Array = NDArray[np.float32]

PERCENT = 99.99
# Ratios of powers are limited to this, so that a tensor without any error has a number too.
LIMIT_DB = 120.0

_TINY = float(np.finfo(np.float64).tiny)

# What `TensorError.cause` goes by: a tensor below this SQNR deserves a word; a median channel so far below the tensor
# is dwarfed; so much more SQNR on its own means that the error came in from before; a range so many times the
# percentile serves outliers.
_NOISY_DB = 20.0
_UNEQUAL_DB = 10.0
_INHERITED_DB = 6.0
_OUTLIERS = 3.0
INHERITED = "from earlier tensors or kernels"


@dataclass(frozen=True)
class TensorError:
    """The error of one tensor, over all images.

    tensor: its name in the ONNX file. sqnr_db: power of the float values over power of what the INT8 network has
    instead, minus the float values, in dB; errors of everything before it are in there.
    The others are those of the float values and of the tensor's range alone, None for an output, which stays float:
    own_sqnr_db: the same ratio where nothing but this tensor is rounded. saturation: part of the values, 0..1, whose
    code would be larger than 127. clipping: part of that own error, 0..1, that these values make.
    channel_sqnr_db: own_sqnr_db of the median channel; far below it where a few channels dwarf the others, whose
    values get few codes of the common range.
    amax: the largest magnitude that a code stands for. percentile: the magnitude that 99.99 % of the values do not
    exceed. peak: the largest one.
    """

    tensor: str
    sqnr_db: float
    own_sqnr_db: float | None
    channel_sqnr_db: float | None
    saturation: float | None
    clipping: float | None
    amax: float | None
    percentile: float
    peak: float

    @property
    def layer(self) -> str:
        """The layer that makes the tensor, or rather the last one of its fused block."""
        return self.tensor.split("/")[0].removesuffix(":0")

    @property
    def cause(self) -> str:
        """Why the error is large, in a few words; empty where it is small, and for an output."""
        if self.own_sqnr_db is None or self.channel_sqnr_db is None or self.clipping is None or self.amax is None:
            return ""
        if self.channel_sqnr_db < min(_NOISY_DB, self.own_sqnr_db - _UNEQUAL_DB):
            return "a few channels dwarf the others"
        if self.sqnr_db >= _NOISY_DB:
            return ""
        if self.own_sqnr_db > self.sqnr_db + _INHERITED_DB:
            return INHERITED
        if self.clipping > 0.5:
            return "range too small: clips"
        if self.amax > _OUTLIERS * self.percentile:
            return "range too large: outliers"
        return "spread too wide for 8 bits"


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor of a Q/DQ file. rounded: the name of what its readers read. scale: None for a float output."""

    name: str
    rounded: str
    scale: float | None


class ErrorMeter:
    """Gathers the error of one tensor, image by image, in constant memory. scale: of its codes, None without any."""

    def __init__(self, scale: float | None) -> None:
        self._scale = scale
        self._values = Histogram()
        self._saturated = 0
        # Sums of squares per channel.
        self._power = self._error = self._own_error = self._clipped_error = np.zeros(1)

    def add(self, values: Array, found: Array) -> None:
        """values: of the float network, [B, C, ...]. found: of the INT8 network, of the same shape."""
        self._values.add(values)
        self._power = self._power + _power(values)
        self._error = self._error + _power(values - found)
        if self._scale is not None:
            self._add_own(values, np.float32(self._scale))

    def _add_own(self, values: Array, scale: np.float32) -> None:
        codes = np.rint(values / scale)
        error = values - codes.clip(-CODE_MAX, CODE_MAX) * scale
        clipped = np.abs(codes) > CODE_MAX
        self._saturated += int(clipped.sum())
        self._own_error = self._own_error + _power(error)
        self._clipped_error = self._clipped_error + _power(error * clipped)

    def result(self, tensor: str) -> TensorError:
        """The error of everything added so far, at least one value."""
        error = TensorError(
            tensor=tensor,
            sqnr_db=decibels(self._power.sum(), self._error.sum()),
            own_sqnr_db=None,
            channel_sqnr_db=None,
            saturation=None,
            clipping=None,
            amax=None,
            percentile=percentile(self._values, PERCENT),
            peak=self._values.maximum,
        )
        if self._scale is None:
            return error
        return replace(
            error,
            own_sqnr_db=decibels(self._power.sum(), self._own_error.sum()),
            channel_sqnr_db=self._median_channel(),
            saturation=self._saturated / self._values.total,
            clipping=float(self._clipped_error.sum() / max(self._own_error.sum(), _TINY)),
            amax=self._scale * CODE_MAX,
        )

    def _median_channel(self) -> float:
        """Over the channels that are not zero everywhere."""
        alive = zip(self._power, self._own_error)
        return float(np.median([decibels(power, error) for power, error in alive if power] or [LIMIT_DB]))


def _power(values: Array) -> NDArray[np.float64]:
    """[C] sums of squares of values [B, C, ...] over all but the channels."""
    flat = values.reshape(*values.shape[:2], -1)
    sums: NDArray[np.float64] = np.einsum("bcn,bcn->c", flat, flat, dtype=np.float64)
    return sums


def decibels(power: float, error: float) -> float:
    """10 log10(power / error), within +-120; 120 where there is no error."""
    if error == 0:
        return LIMIT_DB
    if power == 0:
        return -LIMIT_DB
    return float(np.clip(10 * np.log10(power / error), -LIMIT_DB, LIMIT_DB))


def quantized_tensors(explicit: OnnxGraph) -> list[QuantizedTensor]:
    """The tensors that a Q/DQ network holds in INT8, in its order, then its outputs.

    Raises ModelError for a network without Q/DQ.
    """
    tensors = [
        QuantizedTensor(op.inputs[0], explicit.readers(op.output)[0].output, float(explicit.constants[op.inputs[1]]))
        for op in explicit.ops
        if op.kind == "QuantizeLinear" and op.inputs[0] not in explicit.constants
    ]
    if not tensors:
        raise ModelError("this ONNX has no Q/DQ nodes", hint="export --data_type int8 writes one: MODEL.qdq.onnx")
    return [*tensors, *(QuantizedTensor(name, name, None) for name in explicit.outputs)]


def layer_errors(clean: OnnxFile, explicit: OnnxFile, images: Sequence[Array]) -> list[TensorError]:
    """The error of every quantized tensor and of the outputs, in the network's order.

    clean: the float network; explicit: the same with Q/DQ, its tensors of the same names. images: batches
    [B, H, W, C] in 0..1, at least one. One image runs at a time.
    """
    tensors = quantized_tensors(explicit.graph)
    meters = [ErrorMeter(tensor.scale) for tensor in tensors]
    floats = tensor_values(clean.proto, [tensor.name for tensor in tensors], images)
    rounded = tensor_values(explicit.proto, [tensor.rounded for tensor in tensors], images)
    for values, found in zip(floats, rounded, strict=True):
        for tensor, meter in zip(tensors, meters):
            meter.add(values[tensor.name], found[tensor.rounded])
    return [meter.result(tensor.name) for tensor, meter in zip(tensors, meters)]
