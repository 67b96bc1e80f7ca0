"""`qatkit calibration_tensorfile`."""

from __future__ import annotations

from pathlib import Path

import click

from qatkit.cli.tao import TaoCommand

_FILE = click.Path(path_type=Path)


@click.command(name="calibration_tensorfile", cls=TaoCommand)
@click.option("-e", "--experiment_spec_file", type=_FILE, required=True, help="Experiment spec: data, image size.")
@click.option("-o", "--output_path", type=_FILE, required=True, help="TensorFile to write; must not exist.")
@click.option(
    "-m", "--max_batches", type=click.IntRange(min=-1), default=-1, show_default=True, help="Batches; -1 = all."
)
@click.option("--use_validation_set", is_flag=True, help="Images of the validation data, not of the training data.")
@click.option("-v", "--verbose", is_flag=True, help="More output.")
def calibration_tensorfile(
    experiment_spec_file: Path, output_path: Path, max_batches: int, use_validation_set: bool, verbose: bool
) -> None:
    """Write images as the network gets them to a TensorFile (HDF5), for `export --cal_data_file`.

    `export -e SPEC` calibrates on the same images without such a file.
    """
    from qatkit.dataset.calibration_images import make_tensorfile
    from qatkit.errors import UsageError
    from qatkit.spec import load_experiment

    if max_batches == 0:
        raise UsageError("--max_batches 0: a tensor file holds one batch at least", hint="-1 = all")
    make_tensorfile(load_experiment(experiment_spec_file), output_path, max_batches, validation=use_validation_set)
