"""TensorRT's INT8 calibration cache, and TAO's JSON table of ranges.

    TRT-100300-EntropyCalibration2
    input_1:0: 3c010a14

A value is the scale (amax / 127) of a tensor: the bits of its float32, lower-case hexadecimal, no leading zeros.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from qatkit import files
from qatkit.errors import ModelError, UsageError
from qatkit.quantization.folding import CODE_MAX

# DeepStream 7.1 and 8 come with TensorRT 10.3.
DEFAULT_TENSORRT = "10.3.0"

_HEADER = re.compile(r"TRT-(\d+)-EntropyCalibration2")
_HEX = re.compile(r"[0-9a-f]{1,8}")
_VERSION = re.compile(r"(\d{1,2})\.(\d{1,2})(?:\.(\d{1,2}))?(?:\.\d+)?")
# From TensorRT 10 on the version macro has two digits for the minor number.
_FIRST_WIDE_MAJOR = 10
# A scale must be a positive normal float32, and so must the range that it stands for.
_SMALLEST_SCALE, _SCALES_END = 2.0**-126, 2.0**128 / CODE_MAX


@dataclass(frozen=True)
class CalibrationCache:
    """scales: tensor name -> scale, in the order of the lines. version: the number in the first line.

    lines: tensor name -> number of its line, of a cache that was read.
    """

    version: int
    scales: Mapping[str, float]
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def ranges(self) -> dict[str, float]:
        """Tensor name -> amax, the largest magnitude that a code stands for."""
        return {name: scale * CODE_MAX for name, scale in self.scales.items()}

    @property
    def usable(self) -> CalibrationCache:
        """Without the lines that give a tensor no scale: TensorRT 8.5 and newer fail on a scale of 0."""
        return replace(self, scales={name: scale for name, scale in self.scales.items() if is_usable(scale)})

    def to_text(self) -> str:
        """The file's content."""
        lines = [f"TRT-{self.version}-EntropyCalibration2"]
        lines += [f"{name}: {scale_to_hex(scale)}" for name, scale in self.scales.items()]
        return "\n".join(lines) + "\n"


def version_number(version: str) -> int:
    """`10.3.0` -> 100300, `8.6.1` -> 8601: the number TensorRT puts into the first line.

    Raises UsageError when `version` is not of the form major.minor[.patch[.build]].
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise UsageError(f"TensorRT version {version!r} is not of the form 10.3.0")
    major, minor, patch = (int(part or 0) for part in match.groups())
    if major >= _FIRST_WIDE_MAJOR:
        return major * 10000 + minor * 100 + patch
    return major * 1000 + minor * 100 + patch


def from_ranges(ranges: Mapping[str, float], version: str = DEFAULT_TENSORRT) -> CalibrationCache:
    """The cache of `ranges`, tensor name -> amax. Raises ModelError for a range that is no positive number."""
    scales = {}
    for name, amax in ranges.items():
        scale = amax / CODE_MAX
        if not is_usable(scale):
            raise ModelError(f"tensor {name}: a range must be positive and finite, found {amax}")
        scales[name] = float(np.float32(scale))
    return CalibrationCache(version_number(version), scales)


def is_usable(scale: float) -> bool:
    """Whether a tensor can be quantized by it: not 0, infinite, or so small that float32 has lost its digits."""
    return _SMALLEST_SCALE <= scale < _SCALES_END


def scale_to_hex(scale: float) -> str:
    """The bits of float32(scale), as TensorRT writes them: 6 / 127 -> 3d418306, 0 -> 0."""
    return f"{int(np.float32(scale).view(np.uint32)):x}"


def hex_to_scale(text: str) -> float:
    """Inverse of `scale_to_hex`. Raises ValueError for text of another form."""
    if _HEX.fullmatch(text) is None:
        raise ValueError(f"expected up to eight hexadecimal digits, found {text!r}")
    return float(np.uint32(int(text, 16)).view(np.float32))


def read_cache(path: Path) -> CalibrationCache:
    """Read a calibration cache; names may hold spaces, brackets and colons.

    A scale may be 0 or infinite, as TensorRT writes them; `usable` is without. Raises ModelError naming the line that
    is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path}: cannot read this calibration cache: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: cannot read this calibration cache: it is no text") from error
    return parse_cache(text, str(path))


def parse_cache(text: str, where: str = "calibration cache") -> CalibrationCache:
    """The cache in `text`; `where` names it in errors."""
    header, *lines = text.split("\n")
    match = _HEADER.fullmatch(header.rstrip("\r"))
    if match is None:
        raise ModelError(
            f"{where}: line 1: no calibration cache of TensorRT's entropy calibrator",
            hint="expected TRT-<version>-EntropyCalibration2",
        )
    scales: dict[str, float] = {}
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        name, _, value = line.rstrip("\r").rpartition(": ")
        try:
            scale = hex_to_scale(value)
        except ValueError as error:
            raise ModelError(f"{where}: line {number}: {error}", hint="expected <tensor>: <hex>") from error
        if not name or name in scales:
            raise ModelError(
                f"{where}: line {number}: {'tensor listed twice: ' + name if name else 'no tensor name'}"
            )
        if not scale >= 0:
            fault = "no number" if math.isnan(scale) else "negative"
            raise ModelError(
                f"{where}: line {number}: scale {scale:.6g} ({value}) of {name} is {fault}",
                hint="a scale is a tensor's largest magnitude / 127; calibrate again",
            )
        scales[name], numbers[name] = scale, number
    return CalibrationCache(int(match[1]), scales, numbers)


def write_cache(path: Path, cache: CalibrationCache, tensors: Collection[str]) -> None:
    """Write `cache`, whose names must all be among `tensors`, those of the ONNX beside it.

    Raises ModelError for a name that is not: TensorRT would silently ignore its line.
    """
    if strangers := [name for name in cache.scales if name not in set(tensors)]:
        raise ModelError(f"{path}: the ONNX has no tensor {strangers[0]} ({len(strangers)} such names)")
    files.write_text(path, cache.to_text())


def write_ranges_json(path: Path, ranges: Mapping[str, float]) -> None:
    """TAO's `--cal_json_file`: tensor name -> range (not scale), indented by four."""
    files.write_text(path, json.dumps({"tensor_scales": dict(ranges)}, indent=4))
