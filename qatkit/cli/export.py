"""`qatkit export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qatkit.cli.tao import TaoCommand, no_effect

if TYPE_CHECKING:
    from qatkit.dataset.calibration_images import CalibrationImages
    from qatkit.engine.tensorrt.plan import EngineOptions
    from qatkit.export.export import ExportOptions, ExportReport
    from qatkit.model.file import Model
    from qatkit.spec import Experiment

_FILE = click.Path(path_type=Path)

# Flags of TAO that are accepted.
_WITHOUT_EFFECT = {
    "static_batch_size": "the ONNX takes any batch size; --min_batch_size to --max_batch_size are those of an engine",
    "target_opset": "the ONNX has opset 13, which TensorRT 8 to 11 read",
    "onnx_route": "there is one, and no converter in it",
}


@click.command(cls=TaoCommand)
@click.option("-m", "--model", "model_path", type=_FILE, required=True, help="Model: .tlt.")
@click.option("-k", "--key", default="", help="Pass-phrase of an encrypted .tlt.")
@click.option("-o", "--output_file", type=_FILE, help="ONNX file; default: the model's name with .onnx.")
@click.option("-e", "--experiment_spec", type=_FILE, help="Experiment spec: calibration images, thresholds.")
@click.option("--data_type", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True)
@click.option("--cal_cache_file", type=_FILE, help="INT8: TensorRT calibration cache.  [default: cal.bin beside it]")
@click.option("--cal_json_file", type=_FILE, help="INT8: ranges as JSON.")
@click.option("--cal_image_dir", type=_FILE, help="INT8: images to calibrate with.")
@click.option(
    "--cal_data_file",
    type=_FILE,
    help="INT8: TensorFile to calibrate on; made from --cal_image_dir if that is given.",
)
@click.option(
    "--batches", type=click.IntRange(min=1), default=10, show_default=True, help="INT8: calibration batches."
)
@click.option(
    "--batch_size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="INT8: images per batch; which are the first one matters.",
)
@click.option(
    "--force_ptq",
    is_flag=True,
    help="INT8: calibrate on images even if the model was trained with QAT, and drop its ranges. A DLA needs it: it "
    "fuses no layers and wants a scale of every tensor. TensorRT 8 to 10.7 build for it so; 11 reads no cache.",
)
@click.option("--calibrator", default="entropy", show_default=True, help="entropy, minmax, percentile or mse.")
@click.option(
    "--cal_scope",
    type=click.Choice(["all", "qat"]),
    default="all",
    show_default=True,
    help="Cache of a QAT model: all tensors, or only those that QAT covers.",
)
@click.option(
    "--qdq_placement",
    type=click.Choice(["tensorrt", "tao"]),
    default="tensorrt",
    show_default=True,
    help="PTQ: which tensors are quantized.",
)
@click.option("--skip_layers", multiple=True, help="PTQ: layers that stay float (may be repeated).")
@click.option("--trt_version", default="", help="TensorRT that reads the cache, such as 8.5.3.  [default: 10.3.0]")
@click.option(
    "--tensor_names",
    type=click.Choice(["onnx", "uff"]),
    default="onnx",
    show_default=True,
    help="Tensors with or without :0.",
)
@click.option("--gen_ds_config", is_flag=True, help="Write labels.txt and nvinfer_config.txt for DeepStream.")
@click.option("--show_plan", is_flag=True, help="Print which tensors and kernels are quantized, write nothing.")
@click.option("--engine_file", type=_FILE, help="Build a TensorRT engine too (where TensorRT is installed).")
@click.option("--max_workspace_size", type=int, help="Engine: bytes of GPU memory to build with.  [default: 2 GB]")
@click.option("--min_batch_size", type=int, default=1, show_default=True, help="Engine: images at once, at least.")
@click.option("--opt_batch_size", type=int, default=1, show_default=True, help="Engine: images at once, as a rule.")
@click.option("--max_batch_size", type=int, default=1, show_default=True, help="Engine: images at once, at most.")
@click.option("-s", "--strict_type_constraints", is_flag=True, help="Engine: INT8 without FP16 where it is quicker.")
@click.option("--dla_core", type=click.IntRange(min=0), help="Engine: for this deep learning accelerator.")
@click.option("--static_batch_size", type=int, hidden=True)
@click.option("--target_opset", type=int, hidden=True)
@click.option("--onnx_route", hidden=True)
@click.option("--results_dir", type=_FILE, help="Folder for status.json.")
@click.option("-v", "--verbose", is_flag=True, help="List all tensors without a scale, and all layers not for a DLA.")
def export(**flags: Any) -> None:
    """Write ONNX with TAO's tensor names; for INT8 a calibration cache (TensorRT 8 to 10) and a Q/DQ ONNX (newer).

    A QAT model brings its ranges; others are calibrated on images, on the CPU.
    """
    from qatkit.console import info, table
    from qatkit.export.export import plan_of
    from qatkit.model.open import open_model
    from qatkit.quantization.placement import explain
    from qatkit.spec import load_experiment
    from qatkit.status import StatusLog
    from qatkit.workflow.export import export_model, write_ds_config

    for name, reason in _WITHOUT_EFFECT.items():
        if flags[name] is not None:
            no_effect(f"--{name}", reason)
    options, engine = _options(flags), _engine_options(flags)
    spec = None if flags["experiment_spec"] is None else load_experiment(flags["experiment_spec"])
    model = open_model(flags["model_path"], flags["key"], spec)
    if flags["show_plan"]:
        plan = plan_of(model, options)
        table(["layer", "operations", "kernel", "output"], explain(model.graph, plan), title=plan.summary())
        return
    output = _output(flags)
    stale = [path for path in (output, options.cal_cache_file) if path is not None and path.exists()]
    images = _images(flags, spec, model) if options.data_type == "int8" else None
    report = export_model(model, output, options, images)
    for path in stale:
        info(f"replaced: {path}, of an earlier run")
    written = [report.onnx, report.qdq, report.cache, report.record, report.json]
    if flags["gen_ds_config"]:
        written += write_ds_config(model, report, options, spec)
    _tell_ranges(report, options, verbose=flags["verbose"])
    if options.force_ptq:
        _tell_dla(model, report, options, verbose=flags["verbose"])
    _tell_files(written)
    if engine is not None:
        from qatkit.workflow.convert import build_exported

        _tell_files(build_exported(report, flags["engine_file"], engine))
    StatusLog(flags["results_dir"]).write("SUCCESS", kpi={"size": report.onnx.stat().st_size / 2**20})


def _tell_ranges(report: ExportReport, options: ExportOptions, *, verbose: bool) -> None:
    from qatkit.console import info

    if report.source is None:
        return
    source = "quantization-aware training" if report.source == "qat" else f"calibration ({options.calibrator})"
    info(f"INT8 ranges by {source}; {len(report.ranges)} tensors in the cache, {len(report.uncovered)} not")
    if verbose:
        info("".join(f"  not in the cache: {name}\n" for name in report.uncovered).rstrip())


def _tell_dla(model: Model, report: ExportReport, options: ExportOptions, *, verbose: bool) -> None:
    """What a DLA, for which --force_ptq is, makes of the files."""
    from qatkit.console import info, info_names
    from qatkit.export.deployed import deploy
    from qatkit.export.dla import beyond_dla

    covered = len(report.ranges)
    skipped = "; --skip_layers leaves the others out" if report.uncovered else ""
    dropped = "; the ranges of quantization-aware training are dropped" if model.is_qat else ""
    info(
        "--force_ptq is for a DLA: it fuses no layers and needs a scale of every tensor. "
        f"{covered} of {covered + len(report.uncovered)} have one{skipped}{dropped}"
    )
    info(
        "A DLA computes in INT8 and FP16, at one batch size; TensorRT 8 to 10.7 build for it from ONNX and cache, "
        "TensorRT 11 reads no cache and has a DLA again from 11.4 on (Q/DQ ONNX)"
    )
    problems = beyond_dla(deploy(model.graph, options.tensor_names), report.ranges)
    if not problems:
        info("no layer exceeds the documented limits of a DLA")
    info_names("beyond the documented limits of a DLA, so for the GPU", problems, verbose=verbose)


def _tell_files(paths: Iterable[Path | None]) -> None:
    from qatkit.console import info

    for path in paths:
        if path is not None:
            info(f"written: {path} ({path.stat().st_size / 1e6:.2f} MB)")


def _options(flags: dict[str, Any]) -> ExportOptions:
    """Raises UsageError for INT8 flags without INT8."""
    from qatkit.errors import UsageError
    from qatkit.export.cache import DEFAULT_TENSORRT
    from qatkit.export.export import ExportOptions

    int8 = flags["data_type"] == "int8"
    for name in ("cal_json_file", "cal_data_file", "force_ptq"):
        if flags[name] and not int8:
            raise UsageError(f"--{name} goes with --data_type int8, not with {flags['data_type']}")
    cache = flags["cal_cache_file"] or _output(flags).with_name("cal.bin")
    return ExportOptions(
        data_type=flags["data_type"],
        cal_cache_file=cache if int8 else None,
        cal_json_file=flags["cal_json_file"],
        force_ptq=flags["force_ptq"],
        calibrator=flags["calibrator"],
        placement=flags["qdq_placement"],
        skip_layers=tuple(flags["skip_layers"]),
        cal_scope=flags["cal_scope"],
        trt_version=flags["trt_version"] or DEFAULT_TENSORRT,
        tensor_names=flags["tensor_names"],
    )


def _engine_options(flags: dict[str, Any]) -> EngineOptions | None:
    """How to build an engine, None without one.

    Raises UsageError for flags that contradict each other, and EnvironmentProblem where TensorRT is missing: now, not
    after minutes of calibration.
    """
    from qatkit.engine.tensorrt.library import load_tensorrt
    from qatkit.engine.tensorrt.plan import DEFAULT_WORKSPACE, BatchProfile, EngineOptions
    from qatkit.errors import UsageError

    if flags["engine_file"] is None:
        if flags["dla_core"] is not None:
            raise UsageError("--dla_core goes with --engine_file")
        return None
    workspace = flags["max_workspace_size"]
    options = EngineOptions(
        data_type=flags["data_type"],
        workspace=DEFAULT_WORKSPACE if workspace is None else workspace,
        batch=BatchProfile(flags["min_batch_size"], flags["opt_batch_size"], flags["max_batch_size"]),
        dla_core=flags["dla_core"],
        strict=flags["strict_type_constraints"],
    )
    load_tensorrt()
    return options


def _output(flags: dict[str, Any]) -> Path:
    """The ONNX file; `.onnx` is added to another name, as TAO does."""
    output: Path = flags["output_file"] or flags["model_path"].with_suffix(".onnx")
    return output if output.suffix == ".onnx" else output.with_name(f"{output.name}.onnx")


def _images(flags: dict[str, Any], spec: Experiment | None, model: Model) -> CalibrationImages | None:
    """The calibration images that the flags name."""
    from qatkit.dataset.calibration_images import calibration_images

    return calibration_images(
        model,
        spec,
        image_dir=flags["cal_image_dir"],
        data_file=flags["cal_data_file"],
        batches=flags["batches"],
        batch_size=flags["batch_size"],
    )
