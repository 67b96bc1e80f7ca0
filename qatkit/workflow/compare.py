"""`qatkit compare`: what each model is worth in FP32 and in INT8, from the files that one would deploy."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

import qatkit
from qatkit import status
from qatkit.analysis.sensitivity import Trials, measure
from qatkit.analysis.tensor_error import layer_errors
from qatkit.choices import CALIBRATOR, CalibratorName
from qatkit.console import info, track
from qatkit.dataset.batches import EvaluationBatches
from qatkit.dataset.calibration_images import CalibrationImages, images_from_spec
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, load_pixels, to_float
from qatkit.detectnet.clustering import Detections
from qatkit.detectnet.labels import Labels
from qatkit.engine.base import Engine
from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.open import open_engine
from qatkit.errors import UsageError
from qatkit.evaluation.evaluate import Observe, Result
from qatkit.evaluation.speed import images_per_second
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import ExportReport, export_recorded
from qatkit.files import check_writable, write_json, write_text
from qatkit.model.file import Model
from qatkit.model.open import open_for_spec
from qatkit.processor import this_processor
from qatkit.report.page import render
from qatkit.report.pictures import galleries
from qatkit.report.result import ComparisonResult, LayerCosts, LayerErrors, MeasuredModel
from qatkit.report.rows import FLOAT
from qatkit.spec import Experiment
from qatkit.workflow.evaluate import evaluate_engine, load_split, settings_of

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
    exported: ExportReport


def compare(
    spec: Experiment,
    models: Sequence[tuple[str, Path]],
    output: Path,
    *,
    key: str = "",
    calibrator: CalibratorName = CALIBRATOR,
    sensitivity_images: int = 0,
) -> ComparisonResult:
    """Export every model, evaluate what was exported with ONNX Runtime, write `output/result.json`, return it.

    models: (name, .tlt file). A float model gives two rows, FP32 and INT8 by PTQ (calibrated on training images); a
    QAT model gives INT8 by QAT. mAP and AP are percent. `output/report.html` shows it all and why.
    sensitivity_images: on so many images every layer is tried in INT8 alone; not at all with 0.
    Raises UsageError for models of one name, and for one that does not fit the spec.
    """
    check_writable(output)
    with status.run("compare", output) as log:
        result = _compared(spec, models, output, key, calibrator, sensitivity_images)
        maps = {f"{row.name} {row.precision}": round(row.map, 4) for row in result.models}
        log.succeed(kpi={"mean average precision": maps})
    return result


def _compared(
    spec: Experiment,
    models: Sequence[tuple[str, Path]],
    output: Path,
    key: str,
    calibrator: CalibratorName,
    sensitivity_images: int,
) -> ComparisonResult:
    if len({name for name, _ in models}) != len(models):
        raise UsageError("two models have the same name", hint="-m NAME=PATH gives a name")
    frames = load_split(spec)
    images = images_from_spec(spec, _CALIBRATION_IMAGES)
    loaded = [(name, open_for_spec(path, key, spec)) for name, path in models]
    candidates = [
        candidate
        for name, model in loaded
        for candidate in _candidates(spec, name, model, output, calibrator, images)
    ]
    # Frame by frame, by class index.
    detections: list[list[Mapping[int, Detections]]] = [[] for _ in candidates]
    results = [_evaluated(one, spec, frames, seen.append) for one, seen in zip(candidates, detections)]
    speeds = images_per_second([candidate.engine for candidate in candidates], images.first(1))
    quantized = [candidate for candidate in candidates if candidate.precision != FLOAT]
    result = ComparisonResult(
        list(map(_row, candidates, results, speeds)),
        {"images": len(frames), "boxes": sum(frames.class_counts().values())},
        _environment(),
        _layers(quantized, spec, frames),
        _costs(quantized, spec, frames.sample(sensitivity_images)) if sensitivity_images else (),
    )
    content, page = result.to_json(), output / "report.html"
    write_json(output / "result.json", content)
    layout = ImageLayout.from_spec(spec.augmentation_config.preprocessing)
    write_text(page, render(content, galleries(content["models"], results, detections, frames, layout)))
    info(f"written: {page}")
    return result


def _candidates(
    spec: Experiment, name: str, model: Model, output: Path, calibrator: CalibratorName, images: CalibrationImages
) -> Iterator[Candidate]:
    folder = output / "models" / name
    options = ExportOptions(data_type="int8", cal_cache_file=folder / "cal.bin", calibrator=calibrator)
    report = export_recorded(model, folder / "model.onnx", options, images)

    def candidate(precision: str, path: Path) -> Candidate:
        return Candidate(name, precision, open_engine(path, labels=Labels.from_spec(spec)), path, model, report)

    assert report.qdq is not None  # INT8 was asked for
    if model.is_qat:
        yield candidate("int8-qat", report.qdq)
    else:
        yield candidate(FLOAT, report.onnx)
        yield candidate("int8-ptq", report.qdq)


def _evaluated(candidate: Candidate, spec: Experiment, frames: FrameTable, observe: Observe) -> Result:
    info(f"Evaluating {candidate.name}, {candidate.precision}")
    return evaluate_engine(candidate.engine, spec, frames, observe=observe)


def _row(candidate: Candidate, result: Result, speed: float) -> MeasuredModel:
    return MeasuredModel(
        name=candidate.name,
        precision=candidate.precision,
        engine=candidate.engine.name,
        map=result.map,
        ap=result.ap,
        fps=speed,
        size_bytes=candidate.path.stat().st_size,
        params=candidate.model.graph.params,
        macs=candidate.model.graph.macs,
    )


def _layers(quantized: Sequence[Candidate], spec: Experiment, frames: FrameTable) -> list[LayerErrors]:
    """The error of every tensor of every INT8 candidate against its own float network."""
    layout = ImageLayout.from_spec(spec.augmentation_config.preprocessing)
    sample = frames.sample(_LAYER_IMAGES)
    images = [to_float(load_pixels(sample.image(row), layout))[None] for row in range(len(sample))]
    entries = []
    for candidate in track(quantized, "Errors per layer", len(quantized)):
        errors = layer_errors(OnnxFile.read(candidate.exported.onnx), OnnxFile.read(candidate.path), images)
        entries.append(LayerErrors(candidate.name, candidate.precision, len(images), errors))
    return entries


def _costs(quantized: Sequence[Candidate], spec: Experiment, frames: FrameTable) -> list[LayerCosts]:
    """What every layer of every INT8 candidate costs, on `frames`."""
    batches = list(EvaluationBatches(frames, spec.augmentation_config.preprocessing, 1))
    entries = []
    for candidate in quantized:
        info(f"Sensitivity of {candidate.name}, {candidate.precision}, on {len(frames)} images")
        settings = settings_of(spec, candidate.engine)
        trials = Trials(candidate.exported, batches, settings)
        expected = trials.reference(open_engine(candidate.exported.onnx, labels=Labels.from_spec(spec)))
        found = measure(candidate.model.graph, trials.plan, expected, len(frames), trials)
        entries.append(LayerCosts(candidate.name, candidate.precision, found))
    return entries


def _environment() -> dict[str, str | int | None]:
    return {
        "qatkit": qatkit.__version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "platform": platform.platform(),
        "processor": this_processor().name,
        "cores": os.cpu_count(),
    }
