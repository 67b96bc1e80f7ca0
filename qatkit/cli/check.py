"""`qatkit check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qatkit.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatkit.analysis.dataset import ClassStatistics
    from qatkit.choices import Exif
    from qatkit.workflow.check import CheckReport

_STDOUT = "-"


@click.command()
@options.experiment_spec(required=False, help=" (train, evaluate)")
@options.file("-d", "--dataset_export_spec", help="Conversion spec (dataset_convert).")
@options.file("-i", "--inference_spec", help="Inference spec.")
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value=_STDOUT,
    metavar="[FILE]",
    help="Everything as JSON, to FILE too; without FILE to standard output, and nothing else there.",
)
@options.exif("Pictures of a conversion (-d)")
@options.no_decode
@options.max_megapixels
def check(
    spec: Path | None,
    dataset_export_spec: Path | None,
    inference_spec: Path | None,
    json_file: str | None,
    exif: Exif,
    decode: bool,
) -> None:
    """Validate specs and look at their data, without TensorFlow, before anything runs.

    Prints the effective values, what has no effect here, what contradicts itself, and, where the data are on this
    machine, how many objects of each class there are, how large they are, and which images are missing, damaged or of
    another size than recorded. Exit code 2: specs, 3: data.
    """
    from qatkit.console import warn
    from qatkit.files import write_json
    from qatkit.workflow.check import check

    report = check(spec, dataset_export_spec, inference_spec, exif=exif, decode=decode)
    if json_file == _STDOUT:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        _show(report)
    if json_file not in (None, _STDOUT):
        write_json(Path(json_file), report.to_json())
    for line in report.warnings:
        warn(line)
    for line in report.errors:
        click.secho(f"error: {line}", err=True, fg="red")
    report.raise_for_errors()
    if json_file != _STDOUT:
        click.echo(f"valid: {report.counts()}")


def _show(report: CheckReport) -> None:
    from qatkit.console import info, table

    for spec in report.specs.values():
        if spec.text:
            info(f"# {spec.path}: effective values (what is not listed is 0, false or empty)\n{spec.text}")
    data = report.data
    for line in data.not_here:
        info(f"not on this machine: {line}")
    for split, statistics in data.splits.items():
        missing = f", {len(statistics.missing_images)} missing" if statistics.missing_images else ""
        _show_classes(f"{split} data: {statistics.images} images{missing}", statistics.classes)
    if data.conversion is not None:
        folds = " and ".join(map(str, data.conversion.folds))
        rows = sorted(data.conversion.objects.items())
        table(["name in the records", "objects"], rows, title=f"labels: {folds} images")
        if data.conversion.classes:
            _show_classes("labels, mapped by the experiment spec", data.conversion.classes)


def _show_classes(title: str, classes: Sequence[ClassStatistics]) -> None:
    """Sizes are pixels of the network's input."""
    from qatkit.console import table

    columns = ["class", "objects", "median size", "in one cell", "not evaluated", "too low", "outside"]
    rows = [
        [
            item.name,
            item.objects,
            "-" if item.median_size is None else "{:.0f}x{:.0f}".format(*item.median_size),
            *(
                f"{100 * count / max(item.objects, 1):.1f} %"
                for count in (item.in_one_cell, item.not_evaluated, item.too_low, item.outside)
            ),
        ]
        for item in classes
    ]
    table(columns, rows, title=title)
