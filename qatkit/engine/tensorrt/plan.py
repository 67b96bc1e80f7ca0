"""How a TensorRT of a given version builds an engine: decided here, without TensorRT.

    8.5 to 10   clean ONNX + calibration cache: implicit quantization, the flag INT8 and a calibrator
    8.5 to 10   FP16: a flag
    below 10.12 Q/DQ ONNX: explicit quantization, the flag INT8
    from 10.12  Q/DQ ONNX: a strongly typed network (weak typing is deprecated there)
    from 11     no calibrators, no precision flags: the types of the ONNX are those of the engine

Sources: the Python API references of 8.6, 10.3, 10.13 and 11.4, and NVIDIA's migration guide from 10.x to 11.x.
Engines were built and run with 8.5.3; JetPack 5 and DeepStream 6.2 have 8.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from qatkit.choices import DataType
from qatkit.errors import EnvironmentProblem, UsageError
from qatkit.export.cache import read_cache, version_number

Version = tuple[int, int, int]
Quantization = Literal["none", "implicit", "explicit"]

OLDEST: Version = (8, 5, 0)
# Implicit batch is gone: every network is what EXPLICIT_BATCH made of it.
_EXPLICIT_BATCH_ALWAYS: Version = (10, 0, 0)
# Weak typing is deprecated.
STRONG_TYPING_PREFERRED: Version = (10, 12, 0)
# Calibrators, dynamic ranges and the flags FP16 and INT8 are gone.
STRONG_TYPING_ONLY: Version = (11, 0, 0)

DEFAULT_WORKSPACE = 2 * 2**30
# Less is no workspace in bytes but a number of gigabytes, as `tao deploy` takes it.
_SMALLEST_WORKSPACE = 2**20


@dataclass(frozen=True)
class BatchProfile:
    """Smallest, usual (it is tuned for this one) and largest number of images that an engine takes at once."""

    minimum: int = 1
    optimum: int = 1
    maximum: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise UsageError(
                f"batch sizes {self.minimum}, {self.optimum}, {self.maximum}: expected 1 <= min <= opt <= max"
            )

    @property
    def fixed(self) -> bool:
        return self.minimum == self.maximum


@dataclass(frozen=True)
class EngineOptions:
    """What to build. workspace: bytes of GPU memory that the builder and its kernels may use.

    dla_core: the deep learning accelerator to run on, layers that it cannot run go to the GPU; None = the GPU.
    strict: no FP16 beside INT8, and INT8 wherever there are scales even if float is quicker.
    """

    data_type: DataType = "fp32"
    workspace: int = DEFAULT_WORKSPACE
    batch: BatchProfile = field(default_factory=BatchProfile)
    dla_core: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.workspace < _SMALLEST_WORKSPACE:
            raise UsageError(f"a workspace of {self.workspace} bytes is too small", hint="2147483648 is 2 GB")
        if self.dla_core is None:
            return
        if self.data_type == "fp32":
            raise UsageError("a DLA computes in FP16 and INT8 only", hint="--data_type fp16 or int8")
        if not self.batch.fixed:
            raise UsageError("a DLA takes one batch size only", hint="give the smallest and the largest alike")


@dataclass(frozen=True)
class BuildPlan:
    """The settings of one build. network_flags, builder_flags: names of TensorRT's NetworkDefinitionCreationFlag
    and BuilderFlag. half: rewrite the ONNX in float16, for no flag makes it so. int8_layers: ask for INT8 layer by
    layer where the outputs have scales.
    """

    quantization: Quantization
    network_flags: tuple[str, ...]
    builder_flags: tuple[str, ...]
    half: bool = False
    int8_layers: bool = False


def parse_version(text: str) -> Version:
    """`10.13.3.9` -> (10, 13, 3). Raises EnvironmentProblem for a version that is too old or cannot be read."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise EnvironmentProblem(f"TensorRT calls its version {text!r}, which is no version")
    major, minor, patch = (int(part or 0) for part in match.groups())
    if (major, minor, patch) < OLDEST:
        raise EnvironmentProblem(f"TensorRT {text} is too old", hint="8.5 or newer")
    return major, minor, patch


def build_plan(version: Version, options: EngineOptions, *, has_qdq: bool, has_cache: bool) -> BuildPlan:
    """How TensorRT `version` builds from an ONNX that has Q/DQ nodes or not, with a calibration cache or not.

    Raises UsageError for what that version cannot build.
    """
    quantization = _quantization(version, options, has_qdq, has_cache)
    strong = version >= STRONG_TYPING_ONLY or (has_qdq and version >= STRONG_TYPING_PREFERRED)
    flags = [] if strong else _precision_flags(options, quantization)
    if options.dla_core is not None:
        flags.append("GPU_FALLBACK")
    return BuildPlan(
        quantization=quantization,
        network_flags=_network_flags(version, strong),
        builder_flags=tuple(flags),
        half=strong and options.data_type == "fp16",
        int8_layers=options.strict and quantization == "implicit",
    )


def prefers_qdq(version: Version, options: EngineOptions) -> bool:
    """Whether this TensorRT should build INT8 from the Q/DQ ONNX rather than from the clean one and its cache.

    The DLA of TensorRT 8 and 10 knows implicit quantization only.
    """
    return version >= (STRONG_TYPING_PREFERRED if options.dla_core is None else STRONG_TYPING_ONLY)


def _quantization(version: Version, options: EngineOptions, has_qdq: bool, has_cache: bool) -> Quantization:
    int8 = options.data_type == "int8"
    if has_cache and not int8:
        raise UsageError(f"a calibration cache goes with INT8, not with {options.data_type}")
    if has_cache and has_qdq:
        raise UsageError("the ONNX has Q/DQ nodes: TensorRT ignores a calibration cache with it", hint="leave it out")
    if has_qdq and not int8:
        raise UsageError("the ONNX has Q/DQ nodes, it is INT8", hint="data type int8, or the ONNX without them")
    if int8 and not has_cache and not has_qdq:
        raise UsageError("INT8 needs scales", hint="a calibration cache, or an ONNX with Q/DQ nodes")
    if has_cache and version >= STRONG_TYPING_ONLY:
        raise UsageError(
            f"TensorRT {version_text(version)} reads no calibration caches", hint="build from the .qdq.onnx"
        )
    if has_qdq and options.dla_core is not None and version < STRONG_TYPING_ONLY:
        raise UsageError(
            f"the DLA of TensorRT {version_text(version)} knows no Q/DQ nodes",
            hint="build from the clean ONNX and its calibration cache",
        )
    if has_qdq:
        return "explicit"
    return "implicit" if int8 else "none"


def _network_flags(version: Version, strong: bool) -> tuple[str, ...]:
    if version < _EXPLICIT_BATCH_ALWAYS:
        return ("EXPLICIT_BATCH",)
    return ("STRONGLY_TYPED",) if strong and version < STRONG_TYPING_ONLY else ()


def _precision_flags(options: EngineOptions, quantization: Quantization) -> list[str]:
    """Of a weakly typed network: what the builder may use where it is quicker."""
    if quantization == "none":
        return ["FP16"] if options.data_type == "fp16" else []
    if not options.strict:
        return ["INT8", "FP16"]
    return ["INT8", "PREFER_PRECISION_CONSTRAINTS"] if quantization == "implicit" else ["INT8"]


def version_text(version: Version) -> str:
    """(10, 13, 3) -> `10.13.3`."""
    return ".".join(str(part) for part in version)


def cache_bytes(path: Path, version: Version) -> bytes:
    """The calibration cache in `path` as TensorRT `version` accepts it.

    TensorRT skips a cache whose first line names another version; the scales are the same for all. Lines that give no
    scale are left out.
    """
    return replace(read_cache(path).usable, version=version_number(version_text(version))).to_text().encode()
