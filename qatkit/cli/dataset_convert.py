"""`qatkit dataset_convert`: KITTI or COCO labels -> TFRecord files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qatkit.cli import options
from qatkit.cli.tao import TaoCommand

if TYPE_CHECKING:
    from qatkit.dataset.convert import ConvertReport


@click.command(name="dataset_convert", cls=TaoCommand)
@options.file(
    "-d", "--dataset_export_spec", "spec", required=True, help="Conversion spec (kitti_config or coco_config)."
)
@click.option(
    "-o",
    "--output_filename",
    "output",
    required=True,
    help="Folder and prefix of the record files; with / at the end a folder alone.",
)
@click.option(
    "-f", "--validation_fold", type=click.IntRange(min=0), help="Fold that sample_modifier_config leaves alone."
)
@options.results_dir("-r", "--results_dir")
@options.flag(
    "--tao_split",
    help='Partition mode "random": validate on the first images by name, as TAO does, not on random ones.',
)
@options.exif("Pictures with an EXIF rotation")
@options.no_decode
@options.flag("--leave_out", help="Leave out images that cannot be used, or have no label file, instead of ending.")
@options.max_megapixels
@options.verbose("Show every object that is left out.")
def dataset_convert(verbose: bool, **flags: Any) -> None:
    """Convert KITTI or COCO labels to the TFRecord files that training reads.

    Every label is read and every image decoded; unless all of them are good, nothing is written.
    """
    from qatkit.workflow.dataset_convert import convert_dataset

    _show(convert_dataset(**flags), verbose=verbose)


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
    for note in report.tally.notes():
        console.warn(note)
    if report.warning_file is not None:
        console.info(f"the objects that were left out are listed in {report.warning_file}")
    if report.passed_over:
        console.warn(f"passed over: {console.listed(report.passed_over)}")
    files = [path for fold in report.folds for path in fold.files]
    console.info(f"{report.images} images in {len(files)} files, from {files[0]}")
