"""`qatkit dataset_convert`: labels in, record files out."""

from __future__ import annotations

from pathlib import Path

from qatkit import status
from qatkit.dataset.convert import ConvertReport, convert
from qatkit.spec import load_dataset_export


def convert_dataset(
    spec: Path,
    output: Path,
    *,
    validation_fold: int | None = None,
    tao_split: bool = False,
    results_dir: Path | None = None,
) -> ConvertReport:
    """`dataset.convert.convert` by the spec file `spec`; results_dir: where status.json goes."""
    with status.run("dataset_convert", results_dir) as log:
        config = load_dataset_export(spec)
        report = convert(config, output, validation_fold=validation_fold, tao_split=tao_split)
        log.succeed(kpi={"num_images": report.images}, categorical={"num_objects": dict(report.objects)})
    return report
