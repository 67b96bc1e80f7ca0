"""`qatkit export`: the files, and the proof that they compute what the Keras model computes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatkit import status
from qatkit.choices import CALIBRATION_BATCH_SIZE, CALIBRATION_BATCHES, EXIF, Exif
from qatkit.console import info, table
from qatkit.dataset.calibration_images import CalibrationImages, calibration_images
from qatkit.detectnet.labels import Labels
from qatkit.engine.parity import compare_with_keras
from qatkit.engine.tensorrt.library import load_tensorrt
from qatkit.export.deepstream import DeepStream, write_deepstream
from qatkit.export.deployment import Deployment, ExportOptions
from qatkit.export.export import ExportReport, export_recorded
from qatkit.files import check_file
from qatkit.graph.nodes import Shape
from qatkit.model.file import Model
from qatkit.model.open import open_model
from qatkit.quantization.placement import explain
from qatkit.spec import Experiment, load_experiment
from qatkit.workflow.convert import build_exported

if TYPE_CHECKING:
    from qatkit.engine.tensorrt.plan import EngineOptions

_PARITY_IMAGES = 4


@dataclass(frozen=True)
class ExportJob:
    """A model file and what is to be written of it.

    spec: of training, for calibration images and thresholds. image_dir, data_file, batches, batch_size, exif: other
    images, and how many (see `calibration_images`). ds_config: files for DeepStream too. engine: a TensorRT engine
    too, built as `building` says. results_dir: where status.json goes.
    """

    model: Path
    output: Path
    options: ExportOptions
    key: str = ""
    spec: Path | None = None
    image_dir: Path | None = None
    data_file: Path | None = None
    batches: int = CALIBRATION_BATCHES
    batch_size: int = CALIBRATION_BATCH_SIZE
    exif: Exif = EXIF
    ds_config: bool = False
    engine: Path | None = None
    building: EngineOptions | None = None
    results_dir: Path | None = None

    def open(self) -> tuple[Model, Experiment | None]:
        """The model, and the spec if there is one."""
        spec = None if self.spec is None else load_experiment(self.spec)
        return open_model(self.model, self.key, None if spec is None else Labels.from_spec(spec)), spec

    def show_plan(self) -> None:
        """Print what would be quantized, layer by layer. Writes nothing."""
        model, _ = self.open()
        plan = Deployment.of(model, replace(self.options, data_type="int8")).int8_plan
        table(["layer", "operations", "kernel", "output"], explain(model.graph, plan), title=plan.summary())


def run_export(job: ExportJob) -> ExportReport:
    """Write all that `job` names, and say what was written.

    Raises EnvironmentProblem for an engine where TensorRT is missing: at once, not after minutes of calibration.
    """
    options = job.options
    with status.run("export", job.results_dir) as log:
        if job.engine is not None:
            load_tensorrt()
        model, spec = job.open()
        for path in (job.output, options.cal_cache_file, options.cal_json_file, job.engine):
            if path is not None:
                check_file(path)
        stale = [path for path in (job.output, options.cal_cache_file) if path is not None and path.exists()]
        images = _images(job, model, spec)
        report = export_recorded(model, job.output, options, images)
        compare_with_keras(report, _sample(model.graph.input.shape, images))
        for path in stale:
            info(f"replaced: {path}, of an earlier run")
        written = [report.onnx, report.qdq, report.cache, report.record, report.json]
        written += write_deepstream(DeepStream.of(report, spec), job.output.parent) if job.ds_config else []
        _tell_written(written)
        if job.engine is not None and job.building is not None:
            _tell_written(build_exported(report, job.engine, job.building))
        log.succeed(kpi={"size": report.onnx.stat().st_size / 2**20})
    return report


def _images(job: ExportJob, model: Model, spec: Experiment | None) -> CalibrationImages | None:
    if job.options.data_type != "int8":
        return None
    return calibration_images(
        model,
        spec,
        image_dir=job.image_dir,
        data_file=job.data_file,
        batches=job.batches,
        batch_size=job.batch_size,
        exif=job.exif,
    )


def _tell_written(paths: Iterable[Path | None]) -> None:
    for path in paths:
        if path is not None:
            info(f"written: {path} ({path.stat().st_size / 1e6:.2f} MB)")


def _sample(shape: Shape, images: CalibrationImages | None) -> NDArray[np.float32]:
    if images is not None:
        return images.first(_PARITY_IMAGES)
    return np.random.default_rng(0).random((_PARITY_IMAGES, *shape), np.float32)
