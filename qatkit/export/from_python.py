"""`qatkit.export`: the export of a model, for callers in Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qatkit.choices import CalibratorName, DataType
from qatkit.dataset.calibration_images import CalibrationImages, calibration_images
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import ExportReport, export_recorded
from qatkit.export.export import export as _export
from qatkit.model.file import Model
from qatkit.spec import Experiment

AnyPath = str | os.PathLike[str]
Images = Iterable[NDArray[np.float32]]


def export(
    model: Model,
    output: AnyPath,
    *,
    data_type: DataType = ExportOptions.data_type,
    cal_cache: AnyPath | None = None,
    images: AnyPath | Experiment | Images | None = None,
    calibrator: CalibratorName = ExportOptions.calibrator,
    force_ptq: bool = ExportOptions.force_ptq,
    skip_layers: Sequence[str] = ExportOptions.skip_layers,
    static_batch_size: int = ExportOptions.static_batch_size,
) -> ExportReport:
    """Write `model` as ONNX to `output`, NCHW under TAO's tensor names; says what was written.

    data_type "int8" also writes OUTPUT.qdq.onnx, with explicit quantization, and the TensorRT calibration cache
    `cal_cache`. A model from quantization-aware training has its ranges; another one, or any with `force_ptq`, is
    calibrated on `images`: a folder, a training spec (its training images), or batches [B, H, W, C] in 0..1.
    skip_layers: patterns of layers that compute in float. static_batch_size: the number of images that the ONNX takes
    at once, 0 = any.
    """
    options = ExportOptions(
        data_type=data_type,
        cal_cache_file=None if cal_cache is None else Path(cal_cache),
        calibrator=calibrator,
        force_ptq=force_ptq,
        skip_layers=tuple(skip_layers),
        static_batch_size=static_batch_size,
    )
    if images is None or isinstance(images, (str, os.PathLike, Experiment)):
        return export_recorded(model, Path(output), options, _calibration_images(model, images))
    return _export(model, Path(output), options, images)


def _calibration_images(model: Model, source: AnyPath | Experiment | None) -> CalibrationImages | None:
    if isinstance(source, (str, os.PathLike)):
        return calibration_images(model, None, image_dir=Path(source))
    return calibration_images(model, source)
