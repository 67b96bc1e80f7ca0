"""`qatkit inference`."""

from __future__ import annotations

from typing import Any

import click

from qatkit.cli import options
from qatkit.cli.tao import TaoCommand


@click.command(cls=TaoCommand)
@options.file("-e", "--experiment_spec", "spec", required=True, help="Inference spec.")
@options.file("-i", "--image_dir", required=True, help="Image, or folder of images.")
@options.file("-r", "--results_dir", "-o", "--output_dir", "results", required=True, help="Folder for the results.")
@options.model("--model_path", help="; default: the one in the spec")
@options.key
@options.cal_cache
@options.batch_size
@options.exif("Images")
@options.max_megapixels
@options.tao_compat("Cluster as TAO's inference does, defects included, to compare with it.")
@options.verbose("Name what is found in each image.", "--verbosity", "--verbose", "verbose")
def inference(tao_compat: bool, **flags: Any) -> None:
    """Detect objects: RESULTS/images_annotated, RESULTS/labels (KITTI) and RESULTS/detections.json."""
    from qatkit.console import info
    from qatkit.workflow.inference import run_inference

    found = run_inference(compat="tao-inference" if tao_compat else "none", **flags)
    objects = ", ".join(f"{name} {count}" for name, count in sorted(found.counts.items())) or "nothing"
    info(f"{found.images} images ({found.engine}, {found.precision}): found {objects}; written to {flags['results']}")
