"""`qatkit compare`: what each model is worth in FP32 and in INT8, from the files that one would deploy."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import qatkit
from qatkit.analysis.sensitivity import Trials, measure
from qatkit.console import info, table, track
from qatkit.dataset.calibration_images import CalibrationImages, images_from_spec
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout
from qatkit.engine.base import Engine
from qatkit.engine.open import open_engine
from qatkit.errors import GateError, UsageError
from qatkit.evaluation.evaluate import Result
from qatkit.evaluation.speed import images_per_second
from qatkit.export.export import ExportOptions, ExportReport
from qatkit.files import check_writable, write_json, write_text
from qatkit.model.file import Model
from qatkit.model.open import open_model
from qatkit.processor import this_processor
from qatkit.report.page import render
from qatkit.report.rows import FLOAT, title
from qatkit.spec import Experiment, class_names
from qatkit.workflow.analysis import galleries, load_batches, load_images, measured_layers, sample
from qatkit.workflow.evaluate import evaluate_engine, load_split, settings_of
from qatkit.workflow.export import export_recorded

_CALIBRATION_IMAGES = 100
_LAYER_IMAGES = 16


@dataclass(frozen=True)
class Candidate:
    """One deployed file to measure. precision: fp32, int8-ptq or int8-qat. exported: it and the files beside it."""

    name: str
    precision: str
    engine: Engine
    path: Path
    model: Model
    options: ExportOptions
    exported: ExportReport

    @property
    def key(self) -> dict[str, str]:
        return {"model": self.name, "precision": self.precision}


@dataclass(frozen=True)
class Run:
    """What a candidate made of the validation set. detections: frame by frame, by class index."""

    result: Result
    detections: list[Any] = field(default_factory=list)


def compare(
    spec: Experiment,
    models: Sequence[tuple[str, Path]],
    output: Path,
    *,
    key: str = "",
    calibrator: str = "entropy",
    max_drop: float | None = None,
    sensitivity_images: int = 0,
) -> dict[str, Any]:
    """Export every model, evaluate what was exported with ONNX Runtime, write `output/result.json`, return it.

    models: (name, .tlt file). A float model gives two rows, FP32 and INT8 by PTQ (calibrated on training images); a
    QAT model gives INT8 by QAT. mAP and AP are percent. `output/report.html` shows it all and why.
    sensitivity_images: on so many images every layer is tried in INT8 alone; not at all with 0.
    Raises GateError when an INT8 row is more than `max_drop` below the best FP32 row.
    """
    check_writable(output)
    if len({name for name, _ in models}) != len(models):
        raise UsageError("two models have the same name", hint="-m NAME=PATH gives a name")
    frames = load_split(spec)
    images = images_from_spec(spec, _CALIBRATION_IMAGES)
    loaded = [(name, open_model(path, key, spec)) for name, path in models]
    candidates = [
        candidate
        for name, model in loaded
        for candidate in _candidates(spec, name, model, output, calibrator, images)
    ]
    runs = [_run(candidate, spec, frames) for candidate in candidates]
    speeds = images_per_second([candidate.engine for candidate in candidates], images.first(1))
    quantized = [candidate for candidate in candidates if candidate.precision != FLOAT]
    report: dict[str, Any] = {
        "models": [_row(candidate, run.result, speed) for candidate, run, speed in zip(candidates, runs, speeds)],
        "dataset": {"images": len(frames), "boxes": sum(frames.class_counts().values())},
        "environment": _environment(),
        "layers": _layers(quantized, spec, frames),
    }
    if sensitivity_images:
        report["sensitivity"] = _sensitivity(quantized, spec, sample(frames, sensitivity_images))
    write_json(output / "result.json", report)
    _show(report, class_names(spec))
    _write_page(report, runs, spec, frames, output / "report.html")
    if max_drop is not None:
        _check_drop(report["models"], max_drop)
    return report


def _candidates(
    spec: Experiment, name: str, model: Model, output: Path, calibrator: str, images: CalibrationImages
) -> Iterator[Candidate]:
    folder = output / "models" / name
    options = ExportOptions(data_type="int8", cal_cache_file=folder / "cal.bin", calibrator=calibrator)
    report = export_recorded(model, folder / "model.onnx", options, images)

    def candidate(precision: str, path: Path) -> Candidate:
        return Candidate(name, precision, open_engine(path, spec=spec), path, model, options, report)

    assert report.qdq is not None  # INT8 was asked for
    if model.is_qat:
        yield candidate("int8-qat", report.qdq)
    else:
        yield candidate(FLOAT, report.onnx)
        yield candidate("int8-ptq", report.qdq)


def _run(candidate: Candidate, spec: Experiment, frames: FrameTable) -> Run:
    info(f"Evaluating {candidate.name}, {candidate.precision}")
    detections: list[Any] = []
    return Run(evaluate_engine(candidate.engine, spec, frames, observe=detections.append), detections)


def _row(candidate: Candidate, result: Result, speed: float) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "precision": candidate.precision,
        "engine": candidate.engine.name,
        "map": result.map,
        "ap": result.ap,
        "fps": speed,
        "size_bytes": candidate.path.stat().st_size,
        "params": candidate.model.graph.params,
        "macs": candidate.model.graph.macs,
    }


def _layers(quantized: Sequence[Candidate], spec: Experiment, frames: FrameTable) -> list[dict[str, Any]]:
    """The error of every tensor of every INT8 candidate against its own float network."""
    images = load_images(sample(frames, _LAYER_IMAGES), ImageLayout.from_spec(spec.augmentation_config.preprocessing))
    return [
        {
            **candidate.key,
            "images": len(images),
            "tensors": measured_layers(candidate.exported.onnx, candidate.path, images),
        }
        for candidate in track(quantized, "Errors per layer", len(quantized))
    ]


def _sensitivity(quantized: Sequence[Candidate], spec: Experiment, frames: FrameTable) -> list[dict[str, Any]]:
    """What every layer of every INT8 candidate costs, on `frames`."""
    batches = load_batches(frames, spec)
    entries = []
    for candidate in quantized:
        info(f"Sensitivity of {candidate.name}, {candidate.precision}, on {len(frames)} images")
        settings = settings_of(spec, candidate.engine)
        trials = Trials(candidate.model, candidate.options, candidate.exported, batches, settings)
        expected = trials.reference(open_engine(candidate.exported.onnx, spec=spec))
        found = measure(candidate.model.graph, trials.plan, expected, len(frames), trials)
        entries.append({**candidate.key, **asdict(found)})
    return entries


def _write_page(
    report: dict[str, Any], runs: Sequence[Run], spec: Experiment, frames: FrameTable, path: Path
) -> None:
    layout = ImageLayout.from_spec(spec.augmentation_config.preprocessing)
    results, detections = [run.result for run in runs], [run.detections for run in runs]
    write_text(path, render(report, galleries(report["models"], results, detections, frames, layout)))
    info(f"written: {path}")


def _environment() -> dict[str, Any]:
    import onnxruntime

    return {
        "qatkit": qatkit.__version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "platform": platform.platform(),
        "processor": this_processor().name,
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
    for entry in report.get("sensitivity", ()):
        if entry["skip"]:
            flags = " ".join(f"--skip_layers {name}" for name in entry["skip"])
            info(
                f"{title(entry)}: {entry['int8_map']:.2f} mAP on {entry['images']} images, "
                f"{entry['skip_map']:.2f} with {flags}, {entry['fp32_map']:.2f} in FP32"
            )


def _check_drop(rows: Sequence[dict[str, Any]], allowed: float) -> None:
    floats = [row["map"] for row in rows if row["precision"] == "fp32"]
    if not floats:
        raise UsageError("--max_drop needs a float model to compare with")
    for row in rows:
        drop = max(floats) - row["map"]
        if row["precision"] != "fp32" and drop > allowed:
            raise GateError(f"{row['name']} ({row['precision']}) is {drop:.2f} mAP below FP32, more than {allowed:g}")
