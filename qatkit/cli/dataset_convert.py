"""`qatkit dataset_convert`: KITTI or COCO labels -> TFRecord files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qatkit.cli.tao import TaoCommand

if TYPE_CHECKING:
    from qatkit.dataset.convert import ConvertReport


@click.command(name="dataset_convert", cls=TaoCommand)
@click.option(
    "-d",
    "--dataset_export_spec",
    required=True,
    type=click.Path(path_type=Path),
    help="Conversion spec (kitti_config or coco_config).",
)
@click.option(
    "-o",
    "--output_filename",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder and prefix of the record files.",
)
@click.option(
    "-f", "--validation_fold", type=click.IntRange(min=0), help="Fold that sample_modifier_config leaves alone."
)
@click.option(
    "-r",
    "--results_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for status.json.",
)
@click.option(
    "--tao_split",
    is_flag=True,
    help='Partition mode "random": validate on the first images by name, as TAO does, not on random ones.',
)
@click.option("-v", "--verbose", is_flag=True, help="Show every object that is left out.")
def dataset_convert(
    dataset_export_spec: Path,
    output_filename: Path,
    validation_fold: int | None,
    results_dir: Path | None,
    tao_split: bool,
    verbose: bool,
) -> None:
    """Convert KITTI or COCO labels to the TFRecord files that training reads.

    Nothing is written unless every label and image can be read.
    """
    from qatkit.dataset.convert import convert
    from qatkit.errors import QatkitError
    from qatkit.spec import load_dataset_export
    from qatkit.status import StatusLog

    status = StatusLog(results_dir)
    status.write("STARTED", "dataset_convert")
    try:
        spec = load_dataset_export(dataset_export_spec)
        report = convert(spec, output_filename, validation_fold=validation_fold, tao_split=tao_split)
    except QatkitError as error:
        status.write("FAILURE", str(error))
        raise
    _show(report, verbose=verbose)
    status.write(
        "SUCCESS",
        "dataset_convert",
        kpi={"num_images": report.images},
        categorical={"num_objects": dict(report.objects)},
    )


def _show(report: ConvertReport, *, verbose: bool) -> None:
    """Objects per class and fold, the class map, and what was left out."""
    from qatkit import console

    names = sorted(report.objects)
    rows = [[f"{fold.fold:03d}", fold.images, *(fold.objects[name] for name in names)] for fold in report.folds]
    console.table(["fold", "images", *names], [*rows, ["all", report.images, *(report.objects[n] for n in names)]])
    console.table(["name in the labels", "name in the records"], sorted(report.class_map.items()))
    console.info("target_class_mapping in a training spec uses the names in the records.")
    if verbose:
        for key, box in report.skipped.items():
            console.info(f"left out: {key} {box}")
    if report.skipped:
        console.warn(
            f"objects left out because their boxes have no area: {len(report.skipped)}, see {report.warning_file}"
        )
    files = [path for fold in report.folds for path in fold.files]
    console.info(f"{report.images} images in {len(files)} files, from {files[0]}")
