"""TensorRT engines: `qatkit converter`, and `qatkit export --engine_file`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qatkit.console import info
from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.tensorrt.build import build_engine
from qatkit.engine.tensorrt.expected import Expected, check_network
from qatkit.engine.tensorrt.library import load_tensorrt
from qatkit.engine.tensorrt.plan import EngineOptions, prefers_qdq
from qatkit.engine.tensorrt.sidecar import EngineSidecar, sidecar_path
from qatkit.errors import ModelError
from qatkit.export.export import ExportReport


def convert(
    onnx: Path, engine: Path, options: EngineOptions, *, cache: Path | None = None, expected: Sequence[Expected] = ()
) -> EngineSidecar:
    """Build the engine of the file `onnx`, clean (for INT8 with its calibration cache) or with Q/DQ nodes.

    Raises EnvironmentProblem where TensorRT or a GPU is missing, before anything is read; UsageError when the
    network is not what is `expected`.
    """
    load_tensorrt()
    if onnx.suffix.lower() == ".etlt":
        raise ModelError(f"{onnx}: NVIDIA's .etlt cannot be read", hint="export the model as .onnx")
    file = OnnxFile.read(onnx)
    check_network(file, expected)
    info(f"Building {engine}; TensorRT tries out kernels, which takes minutes.")
    return build_engine(file, engine, options, cache)


def build_exported(report: ExportReport, engine: Path, options: EngineOptions) -> list[Path]:
    """Build an engine from what was exported, of the two INT8 forms the one that this TensorRT prefers.

    Returns the files written: the engine and its sidecar.
    """
    _, version = load_tensorrt()
    if report.qdq is not None and prefers_qdq(version, options):
        convert(report.qdq, engine, options)
    else:
        convert(report.onnx, engine, options, cache=report.cache)
    return [engine, sidecar_path(engine)]
