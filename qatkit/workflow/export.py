"""`qatkit export`: the files, and the proof that they compute what the Keras model computes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatkit import status
from qatkit.console import info
from qatkit.dataset.calibration_images import CalibrationImages, calibration_images
from qatkit.dataset.calibration_record import record_path, write_record
from qatkit.engine.base import Engine
from qatkit.engine.tensorrt.library import load_tensorrt
from qatkit.errors import UsageError
from qatkit.export.deepstream import ClassThresholds, DeepStream, write_deepstream
from qatkit.export.deployed import deploy
from qatkit.export.dla import beyond_dla
from qatkit.export.export import ExportOptions, ExportReport, deployed_weights, export, plan_of
from qatkit.files import check_file
from qatkit.keras.startup import has_tensorflow, import_tensorflow
from qatkit.model.file import Model
from qatkit.model.open import open_model
from qatkit.quantization.placement import QuantizationPlan, explain
from qatkit.spec import ClusteringConfig, Experiment, load_experiment
from qatkit.workflow.convert import build_exported

if TYPE_CHECKING:
    from qatkit.engine.tensorrt.plan import EngineOptions

_PARITY_IMAGES = 4
_DBSCAN = ClusteringConfig.DBSCAN

Images = NDArray[np.float32]


@dataclass(frozen=True)
class ExportJob:
    """A model file and what is to be written of it.

    spec: of training, for calibration images and thresholds. image_dir, data_file, batches, batch_size: other images,
    and how many (see `calibration_images`). ds_config: files for DeepStream too. engine: a TensorRT engine too, built
    as `building` says. results_dir: where status.json goes.
    """

    model: Path
    output: Path
    options: ExportOptions
    key: str = ""
    spec: Path | None = None
    image_dir: Path | None = None
    data_file: Path | None = None
    batches: int = 10
    batch_size: int = 16
    ds_config: bool = False
    engine: Path | None = None
    building: EngineOptions | None = None
    results_dir: Path | None = None

    def open(self) -> tuple[Model, Experiment | None]:
        """The model, and the spec if there is one."""
        spec = None if self.spec is None else load_experiment(self.spec)
        return open_model(self.model, self.key, spec), spec

    def plan(self) -> tuple[QuantizationPlan, list[tuple[str, str, str, str]]]:
        """What would be quantized, and that layer by layer: layer, operations, kernel, output. Writes nothing."""
        model, _ = self.open()
        plan = plan_of(model, self.options)
        return plan, explain(model.graph, plan)


@dataclass(frozen=True)
class Exported:
    """What an export came to. beyond_dla: what a DLA, for which `force_ptq` is, cannot run."""

    report: ExportReport
    was_qat: bool
    beyond_dla: tuple[str, ...] = ()


def run_export(job: ExportJob) -> Exported:
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
        report = export_model(model, job.output, options, _images(job, model, spec))
        for path in stale:
            info(f"replaced: {path}, of an earlier run")
        written = [report.onnx, report.qdq, report.cache, report.record, report.json]
        written += write_ds_config(model, report, options, spec) if job.ds_config else []
        _tell_written(written)
        if job.engine is not None and job.building is not None:
            _tell_written(build_exported(report, job.engine, job.building))
        problems: tuple[str, ...] = ()
        if options.force_ptq:
            problems = tuple(beyond_dla(deploy(model.graph, options.tensor_names), report.ranges))
        log.succeed(kpi={"size": report.onnx.stat().st_size / 2**20})
    return Exported(report, model.is_qat, problems)


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
    )


def _tell_written(paths: Iterable[Path | None]) -> None:
    for path in paths:
        if path is not None:
            info(f"written: {path} ({path.stat().st_size / 1e6:.2f} MB)")


def export_model(
    model: Model, output: Path, options: ExportOptions, images: CalibrationImages | None = None
) -> ExportReport:
    """Export `model`, then compare what was written with the Keras model and print the largest difference.

    Without TensorFlow nothing is compared.
    """
    report = export_recorded(model, output, options, images)
    if not has_tensorflow():
        info("Not compared with Keras: TensorFlow is not installed (pip install 'qatkit[train]').")
        return report
    sample = _sample(model, images)
    floating = replace(model, graph=deployed_weights(model, options), plan=None, ranges={})
    _compare(floating, report.onnx, sample, "float ONNX against Keras")
    if report.qdq is not None and report.source == "qat":
        # TAO trains with one scale per kernel; TensorRT, and so the file, has one per output channel.
        whole = ", which rounds whole kernels, as TAO does" if plan_of(model, options).placement == "tao" else ""
        _compare(model, report.qdq, sample, f"INT8 ONNX against fake-quantized Keras{whole}")
    return report


def export_recorded(
    model: Model, output: Path, options: ExportOptions, images: CalibrationImages | None = None
) -> ExportReport:
    """`export`, and beside the cache the record of the images that were read for it.

    The record of an earlier cache is removed: it would describe the new one wrongly.
    """
    report = export(model, output, options, images)
    if report.cache is None:
        return report
    if images is not None and report.calibrator is not None:
        return replace(report, record=write_record(report.cache, report.calibrator, images))
    former = record_path(report.cache)
    if former.is_file():
        former.unlink()
        info(f"removed: {former}, of an earlier run; this cache was made without images")
    return report


def _sample(model: Model, images: CalibrationImages | None) -> Images:
    if images is not None:
        return images.first(_PARITY_IMAGES)
    shape = (_PARITY_IMAGES, *model.graph.input.shape)
    return np.random.default_rng(0).random(shape, np.float32)


def _compare(model: Model, path: Path, images: Images, what: str) -> None:
    import_tensorflow()
    from qatkit.engine.keras import KerasEngine
    from qatkit.engine.onnx_runtime import open_onnx

    difference = largest_difference(KerasEngine.from_model(model), open_onnx(path), images)
    info(f"{what}: largest difference {difference:.2e} of the largest output, on {len(images)} images")


def largest_difference(reference: Engine, other: Engine, images: Images) -> float:
    """The largest difference of any output, relative to the largest magnitude of that output."""
    pairs = zip(reference.predict(images), other.predict(images))
    return max(float(np.abs(one - two).max() / max(np.abs(one).max(), 1e-9)) for one, two in pairs)


def write_ds_config(
    model: Model, report: ExportReport, options: ExportOptions, spec: Experiment | None
) -> list[Path]:
    """`labels.txt` and `nvinfer_config.txt` beside the ONNX, thresholds from `spec` where there is one."""
    tensors = deploy(model.graph, options.tensor_names).tensors
    config = DeepStream(
        onnx=report.onnx,
        cache=report.cache,
        data_type=options.data_type,
        classes=model.classes,
        input_shape=model.graph.input.shape,
        outputs=tuple(tensors[name] for name in model.graph.outputs),
        thresholds=[] if spec is None else [_thresholds(spec, name) for name in model.classes],
        box_scale=model.box_scale,
        box_offset=model.box_offset,
        grid=model.graph.shape(model.graph.outputs[0])[:2],
    )
    return write_deepstream(config, report.onnx.parent)


def _thresholds(spec: Experiment, name: str) -> ClassThresholds:
    """nvinfer's thresholds for a class: its NMS works on single cells, where a sum of coverages is no threshold."""
    if name not in spec.postprocessing_config.target_class_config:
        raise UsageError(f"the spec's postprocessing_config has no class {name}, which the model knows")
    config = spec.postprocessing_config.target_class_config[name].clustering_config
    default = ClassThresholds()
    # Specs keep nearly every cell for the precision-recall curve; a live picture must not show them all.
    least = max(config.coverage_threshold, default.pre_cluster)
    if config.clustering_algorithm == _DBSCAN:
        return ClassThresholds(least, default.nms_iou)
    return ClassThresholds(max(least, config.nms_confidence_threshold), config.nms_iou_threshold or default.nms_iou)
