"""A model file of any kind -> the engine that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import Engine
from qatkit.errors import ModelError, UsageError

if TYPE_CHECKING:
    from qatkit.engine.int8.report import Int8Report
    from qatkit.engine.keras import KerasEngine

_TENSORRT = (".engine", ".plan", ".trt")
_PRECISIONS = (".int8", ".fp16", ".fp32")


def is_tensorrt(path: Path) -> bool:
    """Whether a file is an engine by its name; TAO's notebooks call theirs `model.trt.int8`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PRECISIONS:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in _TENSORRT


def open_engine(
    path: Path, key: str = "", *, cal_cache: Path | None = None, labels: Labels | None = None, threads: int = 0
) -> Engine:
    """The engine for `path` by its ending: .tlt (Keras), .onnx (ONNX Runtime), .engine, .plan or .trt (TensorRT).

    cal_cache: calibration cache of a float ONNX; the pair then runs as TensorRT 8 to 10 would build it in INT8.
    labels: what the outputs mean, where the file does not say. threads: of ONNX Runtime, 0 = all.
    Raises ModelError for a missing file or an unknown kind, UsageError for a cache with another kind of model,
    EnvironmentProblem for a TensorRT engine where TensorRT, pycuda or a GPU is missing, and for a .tlt without
    TensorFlow.
    """
    kind = path.suffix.lower()
    if cal_cache is not None and kind != ".onnx":
        raise UsageError(f"--cal_cache_file goes with an .onnx model, not with {path.name}")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    if kind == ".onnx":
        from qatkit.engine.onnx_runtime import open_onnx

        return open_onnx(path, cal_cache, labels, threads)
    if is_tensorrt(path):
        from qatkit.engine.tensorrt.run import open_tensorrt

        return open_tensorrt(path, labels)
    if kind in (".tlt", ".hdf5"):
        from qatkit.model.open import open_model

        return load_keras_engine().from_model(open_model(path, key, labels))
    raise ModelError(f"{path}: unknown kind of model", hint="one of .tlt, .onnx, .engine")


def load_keras_engine() -> type[KerasEngine]:
    """The engine that runs a model in TensorFlow. Raises EnvironmentProblem where that is not installed."""
    from qatkit.keras.startup import import_tensorflow

    import_tensorflow()
    from qatkit.engine.keras import KerasEngine

    return KerasEngine


def int8_report(engine: Engine) -> Int8Report | None:
    """What of a network runs in INT8 where ONNX Runtime runs it so; None for float networks and other engines."""
    from qatkit.engine.onnx_runtime import OnnxEngine

    return engine.report if isinstance(engine, OnnxEngine) else None
