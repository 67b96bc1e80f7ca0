"""`qatkit converter`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qatkit.cli.tao import TaoCommand

if TYPE_CHECKING:
    from qatkit.engine.tensorrt.plan import EngineOptions
    from qatkit.workflow.convert import Expected

_FILE = click.Path(path_type=Path)


@click.command(cls=TaoCommand)
@click.argument("input_file", type=_FILE)
@click.option(
    "-e", "--engine_file", type=_FILE, default=Path("saved.engine"), show_default=True, help="Engine to write."
)
@click.option("-t", "--data_type", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True)
@click.option("-c", "--cal_cache_file", type=_FILE, help="INT8 from a clean ONNX: its calibration cache.")
@click.option(
    "-m",
    "--max_batch_size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images at once, at most.",
)
@click.option(
    "-p", "--profile", multiple=True, help="Batch sizes: INPUT,MIN,OPT,MAX, each as NxCxHxW; instead of -m."
)
@click.option("-w", "--max_workspace_size", type=int, help="Bytes of GPU memory to build with.  [default: 2 GB]")
@click.option("-s", "--strict_type_constraints", is_flag=True, help="INT8: no FP16 where it is quicker.")
@click.option("-u", "--dla_core", type=click.IntRange(min=0), help="Build for this deep learning accelerator.")
@click.option("-d", "--input_dims", help="C,H,W of the images, to be checked.")
@click.option("-o", "--output_nodes", help="Outputs, separated by commas, to be checked.")
@click.option("-k", "--key", hidden=True)
@click.option("-b", "--calibration_batch_size", type=int, hidden=True)
@click.option("-i", "--input_order", type=click.Choice(["nchw"]), hidden=True)
def converter(**flags: Any) -> None:
    """Build a TensorRT engine from INPUT_FILE, an .onnx, where TensorRT is installed. With tao-converter's flags.

    INT8 from a clean ONNX and its calibration cache (TensorRT 8.5 to 10), or from one with Q/DQ nodes.
    """
    from qatkit.console import info
    from qatkit.workflow.convert import convert

    options, expected = _parse(flags)
    engine = flags["engine_file"]
    sidecar = convert(flags["input_file"], engine, options, cache=flags["cal_cache_file"], expected=expected)
    info(
        f"written: {engine} ({engine.stat().st_size / 1e6:.2f} MB, {sidecar.precision}, TensorRT {sidecar.tensorrt})"
    )


def _parse(flags: dict[str, Any]) -> tuple[EngineOptions, list[Expected]]:
    """What to build, and what the network must be. Raises UsageError for flags that make no sense."""
    from qatkit.engine.tensorrt.plan import DEFAULT_WORKSPACE, BatchProfile, EngineOptions
    from qatkit.workflow.convert import Expected, parse_dims, parse_profile

    largest, core = flags["max_batch_size"], flags["dla_core"]
    # A DLA takes one batch size only.
    batch = BatchProfile(1 if core is None else largest, largest, largest)
    outputs = tuple(flags["output_nodes"].split(",")) if flags["output_nodes"] else ()
    expected = [Expected(parse_dims(flags["input_dims"]) if flags["input_dims"] else None, outputs=outputs)]
    for text in flags["profile"]:
        name, batch, dims = parse_profile(text)
        expected.append(Expected(dims, name))
    workspace = flags["max_workspace_size"]
    options = EngineOptions(
        data_type=flags["data_type"],
        workspace=DEFAULT_WORKSPACE if workspace is None else workspace,
        batch=batch,
        dla_core=core,
        strict=flags["strict_type_constraints"],
    )
    return options, expected
