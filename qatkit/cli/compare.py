"""`qatkit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qatkit.cli import options
from qatkit.cli.tao import TaoCommand

if TYPE_CHECKING:
    from qatkit.report.result import ComparisonResult


@click.command(cls=TaoCommand)
@options.experiment_spec(help=": data, clustering, metric")
@click.option(
    "-m", "--model", "models", multiple=True, required=True, help="Model, PATH or NAME=PATH (.tlt); may be repeated."
)
@options.file(
    "-o", "--output_dir", "output", required=True, help="Folder for report.html, result.json, exported files."
)
@options.key
@options.max_megapixels
@options.calibrator(help="For INT8 by PTQ.")
@options.flag("--sensitivity", help="Also measure what each layer costs in INT8; takes time.")
@options.count("--sensitivity_images", default=32, help="For --sensitivity.")
@click.option("--max_drop", type=click.FloatRange(min=0), help="Exit with 7 when INT8 is more mAP below FP32.")
def compare(
    spec: Path,
    models: tuple[str, ...],
    sensitivity: bool,
    sensitivity_images: int,
    max_drop: float | None,
    **flags: Any,
) -> None:
    """FP32, INT8 by PTQ and INT8 by QAT side by side, and why they differ, from the exported files, without a GPU."""
    from qatkit.spec import load_experiment

    experiment = load_experiment(spec)
    named = [_named(text) for text in models]
    from qatkit.workflow.compare import compare

    images = sensitivity_images if sensitivity else 0
    result = compare(experiment, named, sensitivity_images=images, **flags)
    _show(result)
    if max_drop is not None:
        result.check_drop(max_drop)


def _show(result: ComparisonResult) -> None:
    from qatkit.console import info, table
    from qatkit.report.rows import title

    classes = list(result.models[0].ap)
    rows = [
        [
            row.name,
            row.precision,
            f"{row.map:.2f}",
            *("n/a" if (ap := row.ap[name]) is None else f"{ap:.2f}" for name in classes),
            f"{row.fps:.1f}",
            f"{row.size_bytes / 1e6:.2f}",
            f"{row.params / 1e6:.2f}",
            f"{row.macs / 1e9:.2f}",
        ]
        for row in result.models
    ]
    table(["model", "precision", "mAP", *classes, "images/s", "MB", "M params", "G MACs"], rows)
    for entry in result.sensitivity:
        found = entry.found
        if found.skip:
            flags = " ".join(f"--skip_layers {name}" for name in found.skip)
            info(
                f"{title(entry.to_json())}: {found.int8_map:.2f} mAP on {found.images} images, "
                f"{found.skip_map:.2f} with {flags}, {found.fp32_map:.2f} in FP32"
            )


def _named(text: str) -> tuple[str, Path]:
    """NAME=PATH, or PATH with a name made of it: RUN/weights/model.tlt is called RUN."""
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        return name, Path(path)
    place = Path(text)
    run = place.parent.parent.name if place.parent.name == "weights" else ""
    return run or place.stem, place
