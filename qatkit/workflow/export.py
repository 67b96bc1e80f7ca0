"""`qatkit export`: calibration images, the files, and the proof that they compute what the Keras model computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qatkit.dataset.frames import load_frames
from qatkit.dataset.images import ImageLayout, load_pixels, to_float
from qatkit.engine.base import Engine
from qatkit.errors import DataError, UsageError
from qatkit.export.deepstream import ClassThresholds, DeepStream, write_deepstream
from qatkit.export.deployed import deploy
from qatkit.export.export import ExportOptions, ExportReport, deployed_weights, export
from qatkit.graph.model_file import Model
from qatkit.progress import info, track
from qatkit.spec import ClusteringConfig, Experiment, class_names
from qatkit.workflow.inference import image_files

_PARITY_IMAGES = 4
_DBSCAN = ClusteringConfig.DBSCAN

Images = NDArray[np.float32]


@dataclass(frozen=True)
class CalibrationImages:
    """The image files that calibration reads: `layout` says how. They are chosen by `seed` and can be listed."""

    paths: tuple[str, ...]
    layout: ImageLayout

    def __iter__(self) -> Iterator[Images]:
        """One image at a time, [1, H, W, C] in 0..1, so that memory does not grow with their number."""
        for path in track(self.paths, "Calibration", len(self.paths)):
            yield to_float(load_pixels(path, self.layout))[None]


def choose_images(files: Sequence[str], count: int, seed: int, layout: ImageLayout) -> CalibrationImages:
    """`count` of `files` (all if there are fewer), drawn with `seed`. Raises DataError when there is none."""
    if not files:
        raise DataError("there are no images to calibrate with")
    order = np.random.default_rng(seed).permutation(len(files))[:count]
    return CalibrationImages(tuple(files[index] for index in order), layout)


def images_from_folder(model: Model, folder: Path, count: int, seed: int) -> CalibrationImages:
    """Images of a folder, resized to the network's input."""
    height, width, channels = model.graph.input.shape
    files = [str(path) for path in image_files(folder)]
    return choose_images(files, count, seed, ImageLayout(width, height, channels, auto_resize=True))


def images_from_spec(spec: Experiment, count: int) -> CalibrationImages:
    """Training images of `spec`, prepared as for training but without augmentation; the seed is the spec's."""
    frames = load_frames(spec.dataset_config, class_names(spec), "training")
    layout = ImageLayout.from_spec(spec.augmentation_config.preprocessing)
    return choose_images(frames.image_paths, count, spec.random_seed, layout)


def export_model(
    model: Model, output: Path, options: ExportOptions, images: CalibrationImages | None = None
) -> ExportReport:
    """Export `model`, then compare what was written with the Keras model and print the largest difference."""
    report = export(model, output, options, images)
    sample = _sample(model, images)
    floating = replace(model, graph=deployed_weights(model, options), plan=None, ranges={})
    _compare(floating, report.onnx, sample, "float ONNX against Keras")
    if report.qdq is not None and report.source == "qat":
        _compare(model, report.qdq, sample, "INT8 ONNX against fake-quantized Keras")
    return report


def _sample(model: Model, images: CalibrationImages | None) -> Images:
    if images is not None:
        return np.concatenate(
            [to_float(load_pixels(path, images.layout))[None] for path in images.paths[:_PARITY_IMAGES]]
        )
    shape = (_PARITY_IMAGES, *model.graph.input.shape)
    return np.random.default_rng(0).random(shape, np.float32)


def _compare(model: Model, path: Path, images: Images, what: str) -> None:
    from qatkit.startup import import_tensorflow

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
