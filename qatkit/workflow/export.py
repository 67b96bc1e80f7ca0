"""`qatkit export`: the files, and the proof that they compute what the Keras model computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qatkit.console import info
from qatkit.dataset.calibration_images import CalibrationImages
from qatkit.dataset.calibration_record import record_path, write_record
from qatkit.engine.base import Engine
from qatkit.errors import UsageError
from qatkit.export.deepstream import ClassThresholds, DeepStream, write_deepstream
from qatkit.export.deployed import deploy
from qatkit.export.export import ExportOptions, ExportReport, deployed_weights, export, plan_of
from qatkit.model.file import Model
from qatkit.spec import ClusteringConfig, Experiment

_PARITY_IMAGES = 4
_DBSCAN = ClusteringConfig.DBSCAN

Images = NDArray[np.float32]


def export_model(
    model: Model, output: Path, options: ExportOptions, images: CalibrationImages | None = None
) -> ExportReport:
    """Export `model`, then compare what was written with the Keras model and print the largest difference."""
    report = export_recorded(model, output, options, images)
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
    from qatkit.keras.startup import import_tensorflow

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
