"""A model -> the files that are deployed, all from one set of ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from qatkit.console import info
from qatkit.dataset.calibration_images import CalibrationImages
from qatkit.dataset.calibration_record import record_path, write_record
from qatkit.export.cache import from_ranges, write_cache, write_ranges_json
from qatkit.export.calibrate import Images, tensors_of
from qatkit.export.deployment import Deployment, ExportOptions
from qatkit.export.onnx_model import to_onnx, with_batch
from qatkit.export.qdq import to_qdq_onnx
from qatkit.files import write_bytes
from qatkit.model.file import Model


@dataclass(frozen=True)
class ExportReport:
    """What was written, and of what.

    ranges: ONNX tensor -> amax, of every line in the cache. uncovered: tensors of the ONNX that the cache does not
    name. calibrator: what measured ranges on images; None where no image was read. record: of those images, where one
    was written beside the cache (`export_recorded`).
    """

    onnx: Path
    deployment: Deployment
    qdq: Path | None = None
    cache: Path | None = None
    json: Path | None = None
    ranges: Mapping[str, float] = field(default_factory=dict)
    uncovered: tuple[str, ...] = ()
    calibrator: str | None = None
    record: Path | None = None

    @property
    def source(self) -> Literal["qat", "ptq"] | None:
        """Where the ranges of the quantized tensors are from; None without INT8."""
        if self.qdq is None:
            return None
        return "qat" if self.deployment.trained else "ptq"


def export(model: Model, output: Path, options: ExportOptions, images: Images | None = None) -> ExportReport:
    """Write the clean float ONNX to `output`; for INT8 also the cache and `<output>.qdq.onnx`.

    images: batches [B, H, W, C] in 0..1 for calibration. Everything is computed before anything is written.
    Raises UsageError when INT8 needs images and there are none, ModelError when a network cannot be exported.
    """
    deployment = Deployment.of(model, options)
    clean = to_onnx(deployment.deployed, deployment.metadata)
    written = with_batch(clean, options.static_batch_size).SerializeToString()
    if options.data_type != "int8":
        write_bytes(output, written)
        return ExportReport(output, deployment)
    ranges = deployment.ranges(clean, images)
    cache = from_ranges(ranges.by_tensor, options.trt_version)
    explicit = to_qdq_onnx(deployment.deployed, deployment.int8_plan, ranges.by_node, deployment.metadata)
    qdq = output.with_suffix(".qdq.onnx")
    write_bytes(output, written)
    write_bytes(qdq, with_batch(explicit, options.static_batch_size).SerializeToString())
    if options.cal_cache_file is not None:
        write_cache(options.cal_cache_file, cache, tensors_of(clean))
    if options.cal_json_file is not None:
        write_ranges_json(options.cal_json_file, cache.ranges)
    return ExportReport(
        onnx=output,
        deployment=deployment,
        qdq=qdq,
        cache=options.cal_cache_file,
        json=options.cal_json_file,
        ranges=cache.ranges,
        uncovered=ranges.uncovered,
        calibrator=ranges.calibrator,
    )


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
