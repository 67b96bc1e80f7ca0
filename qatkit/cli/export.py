"""`qatkit export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qatkit.choices import CALIBRATION_BATCH_SIZE, CALIBRATION_BATCHES, CacheScope, TensorNames
from qatkit.cli import options
from qatkit.cli.tao import TaoCommand, no_effect
from qatkit.errors import UsageError

if TYPE_CHECKING:
    from qatkit.export.deployment import ExportOptions
    from qatkit.export.export import ExportReport
    from qatkit.workflow.export import ExportJob

# What --static_batch_size calls no fixed batch, as in TAO.
ANY_BATCH = -1

# Flags of TAO that are accepted.
_WITHOUT_EFFECT = {
    "target_opset": "the ONNX has opset 13, which TensorRT 8 to 11 read",
    "onnx_route": "there is one, and no converter in it",
}


def _engine_batch(which: str, help: str) -> Callable[[options.F], options.F]:
    return options.value(f"--{which}_batch_size", type=int, default=1, help=f"Engine: {help}.")


@click.command(cls=TaoCommand)
@options.model(required=True, help=": .tlt")
@options.key
@options.file("-o", "--output_file", "output", help="ONNX file; default: the model's name with .onnx.")
@options.experiment_spec(required=False, help=": calibration images, thresholds")
@options.data_type()
@options.file("--cal_cache_file", help="INT8: TensorRT calibration cache.  [default: cal.bin beside it]")
@options.file("--cal_json_file", help="INT8: ranges as JSON.")
@options.file("--cal_image_dir", "image_dir", help="INT8: images to calibrate with.")
@options.file(
    "--cal_data_file",
    "data_file",
    help="INT8: TensorFile to calibrate on; made from --cal_image_dir if that is given.",
)
@options.exif("INT8: images of --cal_image_dir with an EXIF rotation")
@options.max_megapixels
@options.count("--batches", default=CALIBRATION_BATCHES, help="INT8: calibration batches.")
@options.count(
    "--batch_size", default=CALIBRATION_BATCH_SIZE, help="INT8: images per batch; which are the first one matters."
)
@options.value(
    "--static_batch_size",
    type=int,
    default=ANY_BATCH,
    help="The ONNX takes exactly so many images at once, for what needs a fixed batch; -1: any number.",
)
@options.flag("--static_batch", help="The same with the number of --batch_size, also for calibration.")
@options.flag(
    "--force_ptq",
    help="INT8: calibrate on images even if the model was trained with QAT, and drop its ranges. A DLA needs it: it "
    "fuses no layers and wants a scale of every tensor. TensorRT 8 to 10.7 build for it so; 11 reads no cache.",
)
@options.calibrator(help="INT8: how ranges are found.")
@options.choice(
    "--cal_scope",
    values=CacheScope,
    default="all",
    help="Cache of a QAT model: all tensors, or only those that QAT covers.",
)
@options.placement("PTQ: which tensors are quantized.")
@options.skip_layers("PTQ")
@click.option("--trt_version", default="", help="TensorRT that reads the cache, such as 8.5.3.  [default: 10.3.0]")
@options.choice("--tensor_names", values=TensorNames, default="onnx", help="Tensors with or without :0.")
@options.flag("--gen_ds_config", "ds_config", help="Write labels.txt and nvinfer_config.txt for DeepStream.")
@options.flag("--show_plan", help="Print which tensors and kernels are quantized, write nothing.")
@options.file("--engine_file", "engine", help="Build a TensorRT engine too (where TensorRT is installed).")
@options.engine_building("--max_workspace_size", "--dla_core", when="Engine: ")
@_engine_batch("min", "images at once, at least")
@_engine_batch("opt", "images at once, as a rule")
@_engine_batch("max", "images at once, at most")
@click.option("--target_opset", type=int, hidden=True)
@click.option("--onnx_route", hidden=True)
@options.results_dir()
@options.verbose("List all tensors without a scale, and all layers not for a DLA.")
def export(**flags: Any) -> None:
    """Write ONNX with TAO's tensor names; for INT8 a calibration cache (TensorRT 8 to 10) and a Q/DQ ONNX (newer).

    A QAT model brings its ranges; others are calibrated on images, on the CPU.
    """
    from qatkit.console import info
    from qatkit.workflow.export import run_export

    for name, reason in _WITHOUT_EFFECT.items():
        if flags[name] is not None:
            no_effect(f"--{name}", reason)
    job = _job(flags)
    if flags["show_plan"]:
        job.show_plan()
        return
    report = run_export(job)
    if job.options.static_batch_size:
        info(f"fixed batch: the ONNX takes exactly {job.options.static_batch_size} images at once")
    _tell_ranges(report, job.options, verbose=flags["verbose"])
    if job.options.force_ptq:
        _tell_dla(report, verbose=flags["verbose"])


def _tell_ranges(report: ExportReport, chosen: ExportOptions, *, verbose: bool) -> None:
    from qatkit.console import info

    if report.source is None:
        return
    source = "quantization-aware training" if report.source == "qat" else f"calibration ({chosen.calibrator})"
    info(f"INT8 ranges by {source}; {len(report.ranges)} tensors in the cache, {len(report.uncovered)} not")
    if verbose:
        info("".join(f"  not in the cache: {name}\n" for name in report.uncovered).rstrip())


def _tell_dla(report: ExportReport, *, verbose: bool) -> None:
    """What a DLA, for which --force_ptq is, makes of the files."""
    from qatkit.console import info, info_names
    from qatkit.export.dla import beyond_dla

    beyond = beyond_dla(report.deployment.deployed, report.ranges)
    covered = len(report.ranges)
    skipped = "; --skip_layers leaves the others out" if report.uncovered else ""
    dropped = "; the ranges of quantization-aware training are dropped" if report.deployment.model.is_qat else ""
    info(
        "--force_ptq is for a DLA: it fuses no layers and needs a scale of every tensor. "
        f"{covered} of {covered + len(report.uncovered)} have one{skipped}{dropped}"
    )
    info(
        "A DLA computes in INT8 and FP16, at one batch size; TensorRT 8 to 10.7 build for it from ONNX and cache, "
        "TensorRT 11 reads no cache and has a DLA again from 11.4 on (Q/DQ ONNX)"
    )
    if not beyond:
        info("no layer exceeds the documented limits of a DLA")
    title = "beyond the documented limits of a DLA, so for the GPU"
    info_names(title, beyond, verbose=verbose)


def _job(flags: dict[str, Any]) -> ExportJob:
    """Raises UsageError for flags that contradict each other."""
    from qatkit.engine.tensorrt.plan import BatchProfile, EngineOptions
    from qatkit.workflow.export import ExportJob

    output = flags["output"] or flags["model"].with_suffix(".onnx")
    if output.suffix != ".onnx":  # it is added to another name, as TAO does
        output = output.with_name(f"{output.name}.onnx")
    fixed, building = _fixed_batch(flags), None
    if fixed:
        _check_engine_batches(flags, fixed)
    if flags["engine"] is not None:
        sizes = (fixed or flags[f"{which}_batch_size"] for which in ("min", "opt", "max"))
        building = options.build(EngineOptions, flags, batch=BatchProfile(*sizes))
    elif flags["dla_core"] is not None:
        raise UsageError("--dla_core goes with --engine_file")
    return options.build(ExportJob, flags, output=output, options=_options(flags, output, fixed), building=building)


def _fixed_batch(flags: dict[str, Any]) -> int:
    """The number of images that the ONNX takes at once, 0 = any. Raises UsageError for flags that differ in it."""
    size, of_calibration = flags["static_batch_size"], flags["batch_size"]
    if size < 1 and size != ANY_BATCH:
        raise UsageError(f"--static_batch_size {size}: expected at least 1, or {ANY_BATCH} for any number")
    if not flags["static_batch"]:
        return int(max(size, 0))
    if options.is_given("static_batch_size") and size != of_calibration:
        raise UsageError(
            f"--static_batch fixes the {of_calibration} images of --batch_size, --static_batch_size says {size}",
            hint="give one of them",
        )
    return int(of_calibration)


def _check_engine_batches(flags: dict[str, Any], fixed: int) -> None:
    """Raise UsageError where other batch sizes of an engine are given than `fixed`, that of the ONNX."""
    for which in ("min", "opt", "max"):
        name = f"{which}_batch_size"
        if options.is_given(name) and flags[name] != fixed:
            raise UsageError(
                f"--{name} {flags[name]}: the ONNX is to take exactly {fixed} images at once", hint="leave it out"
            )


def _options(flags: dict[str, Any], output: Path, fixed: int) -> ExportOptions:
    """Raises UsageError for INT8 flags without INT8."""
    from qatkit.export.deployment import ExportOptions

    int8 = flags["data_type"] == "int8"
    for flag, given in (
        ("--cal_json_file", flags["cal_json_file"]),
        ("--cal_data_file", flags["data_file"]),
        ("--force_ptq", flags["force_ptq"]),
    ):
        if given and not int8:
            raise UsageError(f"{flag} goes with --data_type int8, not with {flags['data_type']}")
    cache = (flags["cal_cache_file"] or output.with_name("cal.bin")) if int8 else None
    return options.build(ExportOptions, flags, cal_cache_file=cache, static_batch_size=fixed)
