"""`qatkit compare`."""

from __future__ import annotations

from pathlib import Path

import click

from qatkit.cli.tao import TaoCommand

_FILE = click.Path(path_type=Path)


@click.command(cls=TaoCommand)
@click.option("-e", "--experiment_spec", type=_FILE, required=True, help="Experiment spec: data, clustering, metric.")
@click.option(
    "-m", "--model", "models", multiple=True, required=True, help="Model, PATH or NAME=PATH (.tlt); may be repeated."
)
@click.option(
    "-o", "--output_dir", type=_FILE, required=True, help="Folder for report.html, result.json, exported files."
)
@click.option("-k", "--key", default="", help="Pass-phrase of encrypted models.")
@click.option("--calibrator", default="entropy", show_default=True, help="For INT8 by PTQ.")
@click.option("--sensitivity", is_flag=True, help="Also measure what each layer costs in INT8; takes time.")
@click.option(
    "--sensitivity_images", type=click.IntRange(min=1), default=32, show_default=True, help="For --sensitivity."
)
@click.option("--max_drop", type=click.FloatRange(min=0), help="Exit with 7 when INT8 is more mAP below FP32.")
def compare(
    experiment_spec: Path,
    models: tuple[str, ...],
    output_dir: Path,
    key: str,
    calibrator: str,
    sensitivity: bool,
    sensitivity_images: int,
    max_drop: float | None,
) -> None:
    """FP32, INT8 by PTQ and INT8 by QAT side by side, and why they differ, from the exported files, without a GPU."""
    from qatkit.keras.startup import import_tensorflow
    from qatkit.spec import load_experiment

    spec = load_experiment(experiment_spec)
    named = [_named(text) for text in models]
    import_tensorflow()
    from qatkit.workflow.compare import compare

    compare(
        spec,
        named,
        output_dir,
        key=key,
        calibrator=calibrator,
        max_drop=max_drop,
        sensitivity_images=sensitivity_images if sensitivity else 0,
    )


def _named(text: str) -> tuple[str, Path]:
    """NAME=PATH, or PATH with a name made of it: RUN/weights/model.tlt is called RUN."""
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        return name, Path(path)
    place = Path(text)
    run = place.parent.parent.name if place.parent.name == "weights" else ""
    return run or place.stem, place
