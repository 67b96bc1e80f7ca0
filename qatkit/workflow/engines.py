"""A model file of any kind -> the engine that runs it."""

from __future__ import annotations

from pathlib import Path

from qatkit.engine.base import Engine
from qatkit.errors import ModelError, UsageError
from qatkit.spec import Experiment, class_names


def open_engine(
    path: Path, key: str = "", *, cal_cache: Path | None = None, spec: Experiment | None = None, threads: int = 0
) -> Engine:
    """The engine for `path` by its ending: .tlt (Keras), .onnx (ONNX Runtime), .engine or .plan (TensorRT).

    cal_cache: calibration cache of a float ONNX; the pair then runs as TensorRT 8 to 10 would build it in INT8.
    spec: gives classes and box encoding where the file has no metadata. threads: of ONNX Runtime, 0 = all.
    Raises ModelError for a missing file or an unknown kind, UsageError for a cache with another kind of model.
    """
    kind = path.suffix.lower()
    if cal_cache is not None and kind != ".onnx":
        raise UsageError(f"--cal_cache_file goes with an .onnx model, not with {path.name}")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    if kind == ".onnx":
        from qatkit.engine.onnx_runtime import open_onnx

        return open_onnx(path, cal_cache=cal_cache, spec=spec, threads=threads)
    if kind in (".tlt", ".hdf5"):
        from qatkit.startup import import_tensorflow

        import_tensorflow()
        from qatkit.engine.keras import KerasEngine
        from qatkit.graph.pretrained import read_model

        return KerasEngine.from_model(read_model(path, key or None, class_names(spec) if spec is not None else ()))
    raise ModelError(f"{path}: unknown kind of model", hint="one of .tlt, .onnx, .engine")
