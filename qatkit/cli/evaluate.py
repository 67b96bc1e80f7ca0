"""`qatkit evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from qatkit.cli import options
from qatkit.cli.tao import TaoCommand, no_effect

if TYPE_CHECKING:
    from qatkit.detectnet.clustering import ClusteringParams
    from qatkit.engine.int8.report import Int8Report
    from qatkit.evaluation.matching import Criteria
    from qatkit.workflow.evaluate import Evaluation


@click.command(cls=TaoCommand)
@options.experiment_spec(help=": data, clustering, metric")
@options.model("--model_path", required=True, help=": .tlt, .onnx or .engine")
@options.key
@options.max_megapixels
@options.cal_cache
@options.flag("--use_training_set", "training_set", help="Evaluate on the training data.")
@options.file("--json", "json_file", help="Write the result to this file too.")
@click.option("--min_map", type=click.FloatRange(0, 100), help="Exit with 7 when mAP (percent) is below this.")
@options.tao_compat("TAO's own formulas and defects, to compare with its numbers.")
@options.results_dir("-r", "--results_dir")
@click.option(
    "-f", "--framework", type=click.Choice(["tlt", "tensorrt"]), hidden=True, help="Told by the file's ending."
)
@click.option("-i", "--image_dir", hidden=True)
@click.option("-l", "--label_dir", hidden=True)
@options.batch_size
@options.verbose("Tell by what it is evaluated; name every tensor without a scale and every float layer.")
def evaluate(
    tao_compat: bool,
    min_map: float | None,
    framework: str | None,
    image_dir: str | None,
    label_dir: str | None,
    verbose: bool,
    **flags: Any,
) -> None:
    """Print the AP of each class and their mean, on the spec's validation data.

    A QAT .tlt runs with its fake quantization, a Q/DQ .onnx and a float .onnx with a calibration cache in INT8. Of
    those it tells how many convolutions integer operations compute, and what the scales leave in float.
    """
    from qatkit.engine.open import is_tensorrt
    from qatkit.workflow.evaluate import evaluate_model

    for flag, given in (("--image_dir", image_dir), ("--label_dir", label_dir)):
        if given is not None:
            no_effect(flag, "the spec names images and labels, as in TAO")
    if framework is not None and (framework == "tensorrt") != is_tensorrt(flags["model"]):
        no_effect(f"--framework {framework}", f"the ending of {flags['model'].name} decides")
    found = evaluate_model(compat="tao-evaluate" if tao_compat else "none", **flags)
    _show(found, verbose=verbose)
    if found.int8 is not None:
        _show_int8(found.int8, cached=flags["cal_cache"] is not None, verbose=verbose)
    if min_map is not None:
        found.check_map(min_map)


def _show(found: Evaluation, *, verbose: bool) -> None:
    from qatkit.console import info, table

    result, settings = found.result, found.settings
    rows = [
        [
            item.name,
            "n/a" if item.ap is None else f"{item.ap:.2f}",
            item.ground_truths,
            item.detections,
            *([f"{item.best.threshold:.3f}", f"{item.best.f1:.3f}"] if item.best else ["-", "-"]),
        ]
        for item in result.classes
    ]
    if verbose:
        for name, clustering, criteria in zip(settings.classes, settings.clustering, settings.criteria):
            info(f"{name}: {_values(clustering)}; {_values(criteria)}")
    info(f"{result.frames} images, {found.engine}, {found.precision}")
    table(["class name", "AP (%)", "objects", "detections", "best threshold", "F1 there"], rows)
    speed = "" if result.fps is None else f", {result.fps:.1f} images/s in the network alone"
    info(f"Mean average precision (in %): {result.map:.4f}{speed}")


def _values(settings: ClusteringParams | Criteria) -> str:
    def shown(value: object) -> object:
        return value.name if isinstance(value, Enum) else f"{value:g}" if isinstance(value, float) else value

    return ", ".join(f"{key} {shown(value)}" for key, value in asdict(settings).items())


def _show_int8(report: Int8Report, *, cached: bool, verbose: bool) -> None:
    """What runs in INT8 and what does not. cached: the scales are those of a calibration cache."""
    from qatkit.console import info, info_names

    info(report.summary())
    convs = [f"{name} ({reason})" for name, reason in report.floating.items()]
    info_names(f"{len(convs)} convolutions compute or write float", convs, verbose=verbose)
    if not cached:
        return
    missing, fused = report.missing_scales, report.fused
    if not missing and not fused:
        info("every tensor has a scale in the cache")
    info_names(f"{len(missing)} tensors without a scale fall back to float", missing, verbose=verbose)
    harmless = f"{len(fused)} tensors without a scale inside fused INT8 kernels, where none is needed"
    info_names(harmless, fused, verbose=verbose)
