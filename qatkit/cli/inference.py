"""`qatkit inference`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qatkit.cli.tao import TaoCommand

if TYPE_CHECKING:
    from qatkit.detectnet.clustering import Compat

_FILE = click.Path(path_type=Path)


@click.command(cls=TaoCommand)
@click.option("-e", "--experiment_spec", type=_FILE, required=True, help="Inference spec.")
@click.option("-i", "--image_dir", type=_FILE, required=True, help="Image, or folder of images.")
@click.option("-r", "--results_dir", "-o", "--output_dir", type=_FILE, required=True, help="Folder for the results.")
@click.option("-m", "--model_path", type=_FILE, help="Model; default: the one in the spec.")
@click.option("-k", "--key", default="", help="Pass-phrase of an encrypted .tlt.")
@click.option("--cal_cache_file", type=_FILE, help="Calibration cache: run the float .onnx as INT8 with it.")
@click.option("-b", "--batch_size", type=click.IntRange(min=1), help="Images per batch; default: that of the spec.")
@click.option(
    "--tao_compat", is_flag=True, help="Cluster as TAO's inference does, defects included, to compare with it."
)
@click.option("-v", "--verbosity", "--verbose", is_flag=True, help="More output.")
def inference(
    experiment_spec: Path,
    image_dir: Path,
    results_dir: Path,
    model_path: Path | None,
    key: str,
    cal_cache_file: Path | None,
    batch_size: int | None,
    tao_compat: bool,
    verbosity: bool,
) -> None:
    """Detect objects: RESULTS/images_annotated, RESULTS/labels (KITTI) and RESULTS/detections.json."""
    from qatkit.console import info
    from qatkit.dataset.images import image_files
    from qatkit.engine.open import open_engine
    from qatkit.files import check_writable
    from qatkit.spec import load_inference
    from qatkit.workflow.inference import infer, model_of, training_spec

    spec = load_inference(experiment_spec)
    images = image_files(image_dir)
    path = model_path or model_of(spec)
    check_writable(results_dir)
    engine = open_engine(path, key, cal_cache=cal_cache_file, spec=training_spec(spec, path))
    compat: Compat = "tao-inference" if tao_compat else "none"
    size = batch_size or spec.inferencer_config.batch_size
    counts = infer(engine, spec, images, results_dir, size, compat=compat)
    found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"
    info(f"{len(images)} images ({engine.name}, {engine.precision}): found {found}; written to {results_dir}")
