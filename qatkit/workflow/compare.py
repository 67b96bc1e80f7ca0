"""`qatkit compare`: what each model is worth in FP32 and in INT8, from the files that one would deploy."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qatkit
from qatkit.engine.base import Engine
from qatkit.errors import GateError, UsageError
from qatkit.evaluation.evaluate import Result
from qatkit.evaluation.speed import images_per_second
from qatkit.export.export import ExportOptions, export
from qatkit.files import check_writable, write_json
from qatkit.graph.model_file import Model
from qatkit.graph.pretrained import read_model
from qatkit.progress import info, table
from qatkit.spec import Experiment, class_names
from qatkit.workflow.calibration import CalibrationImages, images_from_spec
from qatkit.workflow.engines import open_engine
from qatkit.workflow.evaluate import evaluate_engine, load_split

_CALIBRATION_IMAGES = 100


@dataclass(frozen=True)
class Candidate:
    """One deployed file to measure. precision: fp32, int8-ptq or int8-qat. size_bytes: of that file."""

    name: str
    precision: str
    engine: Engine
    size_bytes: int
    params: int
    macs: int


def compare(
    spec: Experiment,
    models: Sequence[tuple[str, Path]],
    output: Path,
    *,
    key: str = "",
    calibrator: str = "entropy",
    max_drop: float | None = None,
) -> dict[str, Any]:
    """Export every model, evaluate what was exported with ONNX Runtime, write `output/result.json`, return it.

    models: (name, .tlt file). A float model gives two rows, FP32 and INT8 by PTQ (calibrated on training images); a
    QAT model gives INT8 by QAT. mAP and AP are percent.
    Raises GateError when an INT8 row is more than `max_drop` below the best FP32 row.
    """
    check_writable(output)
    if len({name for name, _ in models}) != len(models):
        raise UsageError("two models have the same name", hint="-m NAME=PATH gives a name")
    frames = load_split(spec)
    images = images_from_spec(spec, _CALIBRATION_IMAGES)
    loaded = [(name, read_model(path, key or None, class_names(spec))) for name, path in models]
    candidates = [
        candidate
        for name, model in loaded
        for candidate in _candidates(spec, name, model, output, calibrator, images)
    ]
    results = []
    for candidate in candidates:
        info(f"Evaluating {candidate.name}, {candidate.precision}")
        results.append(evaluate_engine(candidate.engine, spec, frames))
    speeds = images_per_second([candidate.engine for candidate in candidates], next(iter(images)))
    report: dict[str, Any] = {
        "models": [_row(*row) for row in zip(candidates, results, speeds)],
        "dataset": {"images": len(frames), "boxes": sum(frames.class_counts().values())},
        "environment": _environment(),
    }
    write_json(output / "result.json", report)
    _show(report, class_names(spec))
    if max_drop is not None:
        _check_drop(report["models"], max_drop)
    return report


def _candidates(
    spec: Experiment, name: str, model: Model, output: Path, calibrator: str, images: CalibrationImages
) -> Iterator[Candidate]:
    folder = output / "models" / name
    options = ExportOptions(data_type="int8", cal_cache_file=folder / "cal.bin", calibrator=calibrator)
    report = export(model, folder / "model.onnx", options, images)
    graph = model.graph

    def candidate(precision: str, path: Path) -> Candidate:
        return Candidate(name, precision, open_engine(path, spec=spec), path.stat().st_size, graph.params, graph.macs)

    assert report.qdq is not None  # INT8 was asked for
    if model.is_qat:
        yield candidate("int8-qat", report.qdq)
    else:
        yield candidate("fp32", report.onnx)
        yield candidate("int8-ptq", report.qdq)


def _row(candidate: Candidate, result: Result, speed: float) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "precision": candidate.precision,
        "engine": candidate.engine.name,
        "map": result.map,
        "ap": result.ap,
        "fps": speed,
        "size_bytes": candidate.size_bytes,
        "params": candidate.params,
        "macs": candidate.macs,
    }


def _environment() -> dict[str, Any]:
    import onnxruntime

    return {
        "qatkit": qatkit.__version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }


def _show(report: dict[str, Any], classes: Sequence[str]) -> None:
    rows = [
        [
            row["name"],
            row["precision"],
            f"{row['map']:.2f}",
            *("n/a" if row["ap"][name] is None else f"{row['ap'][name]:.2f}" for name in classes),
            f"{row['fps']:.1f}",
            f"{row['size_bytes'] / 1e6:.2f}",
            f"{row['params'] / 1e6:.2f}",
            f"{row['macs'] / 1e9:.2f}",
        ]
        for row in report["models"]
    ]
    columns = ["model", "precision", "mAP", *classes, "images/s", "MB", "M params", "G MACs"]
    table(columns, rows)


def _check_drop(rows: Sequence[dict[str, Any]], allowed: float) -> None:
    floats = [row["map"] for row in rows if row["precision"] == "fp32"]
    if not floats:
        raise UsageError("--max_drop needs a float model to compare with")
    for row in rows:
        drop = max(floats) - row["map"]
        if row["precision"] != "fp32" and drop > allowed:
            raise GateError(f"{row['name']} ({row['precision']}) is {drop:.2f} mAP below FP32, more than {allowed:g}")
