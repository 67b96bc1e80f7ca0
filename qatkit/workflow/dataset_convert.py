"""`qatkit dataset_convert`: labels in, record files out."""

from __future__ import annotations

from pathlib import Path

from qatkit import status
from qatkit.choices import EXIF, Exif
from qatkit.dataset.convert import ConvertReport, convert
from qatkit.dataset.source import Reading
from qatkit.spec import load_dataset_export


def convert_dataset(
    spec: Path,
    output: str,
    *,
    validation_fold: int | None = None,
    tao_split: bool = False,
    exif: Exif = EXIF,
    decode: bool = True,
    leave_out: bool = False,
    results_dir: Path | None = None,
) -> ConvertReport:
    """`dataset.convert.convert` by the spec file `spec`; results_dir: where status.json goes."""
    with status.run("dataset_convert", results_dir) as log:
        report = convert(
            load_dataset_export(spec),
            output,
            validation_fold=validation_fold,
            tao_split=tao_split,
            reading=Reading(exif, decode),
            leave_out=leave_out,
        )
        log.succeed(kpi={"num_images": report.images}, categorical={"num_objects": dict(report.objects)})
    return report
