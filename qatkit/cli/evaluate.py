"""`qatkit evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qatkit.cli.tao import TaoCommand, no_effect

if TYPE_CHECKING:
    from qatkit.detectnet.clustering import Compat
    from qatkit.engine.base import Engine
    from qatkit.engine.int8.report import Int8Report
    from qatkit.evaluation.evaluate import Result

_FILE = click.Path(path_type=Path)


@click.command(cls=TaoCommand)
@click.option("-e", "--experiment_spec", type=_FILE, required=True, help="Experiment spec: data, clustering, metric.")
@click.option("-m", "--model_path", type=_FILE, required=True, help="Model: .tlt, .onnx or .engine.")
@click.option("-k", "--key", default="", help="Pass-phrase of an encrypted .tlt.")
@click.option("--cal_cache_file", type=_FILE, help="Calibration cache: evaluate the float .onnx as INT8 with it.")
@click.option("--use_training_set", is_flag=True, help="Evaluate on the training data.")
@click.option("--json", "json_file", type=_FILE, help="Write the result to this file too.")
@click.option("--min_map", type=click.FloatRange(0, 100), help="Exit with 7 when mAP (percent) is below this.")
@click.option("--tao_compat", is_flag=True, help="TAO's own formulas and defects, to compare with its numbers.")
@click.option("-r", "--results_dir", type=_FILE, help="Folder for status.json.")
@click.option(
    "-f", "--framework", type=click.Choice(["tlt", "tensorrt"]), hidden=True, help="Told by the file's ending."
)
@click.option("-i", "--image_dir", hidden=True)
@click.option("-l", "--label_dir", hidden=True)
@click.option("-b", "--batch_size", type=click.IntRange(min=1), help="Images per batch; default: that of the spec.")
@click.option("-v", "--verbose", is_flag=True, help="Name every tensor without a scale and every float layer.")
def evaluate(
    experiment_spec: Path,
    model_path: Path,
    key: str,
    cal_cache_file: Path | None,
    use_training_set: bool,
    json_file: Path | None,
    min_map: float | None,
    tao_compat: bool,
    results_dir: Path | None,
    framework: str | None,
    image_dir: str | None,
    label_dir: str | None,
    batch_size: int | None,
    verbose: bool,
) -> None:
    """Print the AP of each class and their mean, on the spec's validation data.

    A QAT .tlt runs with its fake quantization, a Q/DQ .onnx and a float .onnx with a calibration cache in INT8. Of
    those it tells how many convolutions integer operations compute, and what the scales leave in float.
    """
    from qatkit.engine.open import check_model, int8_report, is_tensorrt, open_engine
    from qatkit.errors import GateError
    from qatkit.files import check_writable, write_json
    from qatkit.keras.startup import import_tensorflow
    from qatkit.spec import load_experiment
    from qatkit.status import StatusLog

    spec = load_experiment(experiment_spec)
    for flag, given in (("--image_dir", image_dir), ("--label_dir", label_dir)):
        if given is not None:
            no_effect(flag, "the spec names images and labels, as in TAO")
    if framework is not None and (framework == "tensorrt") != is_tensorrt(model_path):
        no_effect(f"--framework {framework}", f"the ending of {model_path.name} decides")
    if json_file is not None:
        check_writable(json_file.absolute().parent)
    status = StatusLog(results_dir)
    status.write("STARTED", "Evaluation started.")
    with status.failures():
        check_model(model_path, cal_cache_file)
        import_tensorflow()
        from qatkit.workflow.evaluate import evaluate_engine, load_split

        engine = open_engine(model_path, key, cal_cache=cal_cache_file, spec=spec)
        frames = load_split(spec, training_set=use_training_set)
        compat: Compat = "tao-evaluate" if tao_compat else "none"
        result = evaluate_engine(engine, spec, frames, batch_size=batch_size or 0, compat=compat)
    _show(result, engine)
    values = {"model": str(model_path), "engine": engine.name, "precision": engine.precision, **result.to_json()}
    if (report := int8_report(engine)) is not None:
        values["int8"] = asdict(report)
        _show_int8(report, cached=cal_cache_file is not None, verbose=verbose)
    if json_file is not None:
        write_json(json_file, values)
    status.write(
        "SUCCESS", kpi={"mean average precision": round(result.map, 4)}, categorical={"average_precision": result.ap}
    )
    if min_map is not None and result.map < min_map:
        raise GateError(f"mAP is {result.map:.2f}, below --min_map {min_map:g}")


def _show(result: Result, engine: Engine) -> None:
    from qatkit.console import info, table

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
    info(f"{result.frames} images, {engine.name}, {engine.precision}")
    table(["class name", "AP (%)", "objects", "detections", "best threshold", "F1 there"], rows)
    speed = "" if result.fps is None else f", {result.fps:.1f} images/s in the network alone"
    info(f"Mean average precision (in %): {result.map:.4f}{speed}")


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
