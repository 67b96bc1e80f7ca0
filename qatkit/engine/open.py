"""A model file of any kind -> the engine that runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qatkit.engine.base import Engine
from qatkit.errors import ModelError, UsageError
from qatkit.model.open import open_model
from qatkit.spec import Experiment

if TYPE_CHECKING:
    from qatkit.engine.int8.report import Int8Report

_TENSORRT = (".engine", ".plan", ".trt")
_PRECISIONS = (".int8", ".fp16", ".fp32")


def is_tensorrt(path: Path) -> bool:
    """Whether a file is an engine by its name; TAO's notebooks call theirs `model.trt.int8`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PRECISIONS:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in _TENSORRT


def check_model(path: Path, cal_cache: Path | None = None) -> None:
    """Raise what `open_engine` would for a model that cannot be run here, at once: TensorFlow is not needed for it.

    Raises ModelError for a missing file, UsageError for a cache with another kind of model, EnvironmentProblem for
    a TensorRT engine where TensorRT is missing.
    """
    if cal_cache is not None and path.suffix.lower() != ".onnx":
        raise UsageError(f"--cal_cache_file goes with an .onnx model, not with {path.name}")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    if is_tensorrt(path):
        from qatkit.engine.tensorrt.library import load_tensorrt

        load_tensorrt()


def open_engine(
    path: Path, key: str = "", *, cal_cache: Path | None = None, spec: Experiment | None = None, threads: int = 0
) -> Engine:
    """The engine for `path` by its ending: .tlt (Keras), .onnx (ONNX Runtime), .engine, .plan or .trt (TensorRT).

    cal_cache: calibration cache of a float ONNX; the pair then runs as TensorRT 8 to 10 would build it in INT8.
    spec: gives classes and box encoding where the file has no metadata. threads: of ONNX Runtime, 0 = all.
    Raises ModelError for a missing file or an unknown kind, UsageError for a cache with another kind of model,
    EnvironmentProblem for a TensorRT engine where TensorRT, pycuda or a GPU is missing.
    """
    check_model(path, cal_cache)
    kind = path.suffix.lower()
    if kind == ".onnx":
        from qatkit.engine.onnx_runtime import open_onnx

        return open_onnx(path, cal_cache=cal_cache, spec=spec, threads=threads)
    if is_tensorrt(path):
        from qatkit.engine.tensorrt.run import open_tensorrt

        _leave_gpu_memory()
        return open_tensorrt(path, spec)
    if kind in (".tlt", ".hdf5"):
        from qatkit.keras.startup import import_tensorflow

        import_tensorflow()
        from qatkit.engine.keras import KerasEngine

        return KerasEngine.from_model(open_model(path, key, spec))
    raise ModelError(f"{path}: unknown kind of model", hint="one of .tlt, .onnx, .engine")


def int8_report(engine: Engine) -> Int8Report | None:
    """What of a network runs in INT8 where ONNX Runtime runs it so; None for float networks and other engines."""
    from qatkit.engine.onnx_runtime import OnnxEngine

    return engine.report if isinstance(engine, OnnxEngine) else None


def _leave_gpu_memory() -> None:
    """Keep TensorFlow, which here only reads the images, from taking all memory of the GPU for itself."""
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].config.set_visible_devices([], "GPU")
