"""`qatkit calibration_tensorfile`."""

from __future__ import annotations

from pathlib import Path

import click

from qatkit.cli import options
from qatkit.cli.tao import TaoCommand
from qatkit.errors import UsageError


@click.command(name="calibration_tensorfile", cls=TaoCommand)
@options.experiment_spec("--experiment_spec_file", help=": data, image size")
@options.file("-o", "--output_path", required=True, help="TensorFile to write; must not exist.")
@options.value("-m", "--max_batches", type=click.IntRange(min=-1), default=-1, help="Batches; -1 = all.")
@options.flag("--use_validation_set", help="Images of the validation data, not of the training data.")
@options.max_megapixels
@options.verbose("Name the images.")
def calibration_tensorfile(
    spec: Path, output_path: Path, max_batches: int, use_validation_set: bool, verbose: bool
) -> None:
    """Write images as the network gets them to a TensorFile (HDF5), for `export --cal_data_file`.

    `export -e SPEC` calibrates on the same images without such a file.
    """
    from qatkit.console import info
    from qatkit.dataset.calibration_images import make_tensorfile
    from qatkit.spec import load_experiment

    if max_batches == 0:
        raise UsageError("--max_batches 0: a tensor file holds one batch at least", hint="-1 = all")
    images = make_tensorfile(load_experiment(spec), output_path, max_batches, validation=use_validation_set)
    if verbose:
        info("\n".join(images.paths))
