"""`qatkit converter`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qatkit.cli import options
from qatkit.cli.tao import TaoCommand

if TYPE_CHECKING:
    from qatkit.engine.tensorrt.expected import Expected
    from qatkit.engine.tensorrt.plan import EngineOptions


@click.command(cls=TaoCommand)
@click.argument("input_file", type=options.FILE)
@options.file("-e", "--engine_file", default=Path("saved.engine"), show_default=True, help="Engine to write.")
@options.data_type("-t")
@options.file("-c", "--cal_cache_file", help="INT8 from a clean ONNX: its calibration cache.")
@options.count("-m", "--max_batch_size", default=16, help="Images at once, at most; not for a fixed batch.")
@click.option(
    "-p", "--profile", multiple=True, help="Batch sizes: INPUT,MIN,OPT,MAX, each as NxCxHxW; instead of -m."
)
@options.engine_building("-w --max_workspace_size", "-u --dla_core")
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

    building, expected = _parse(flags)
    engine = flags["engine_file"]
    sidecar = convert(flags["input_file"], engine, building, cache=flags["cal_cache_file"], expected=expected)
    info(
        f"written: {engine} ({engine.stat().st_size / 1e6:.2f} MB, {sidecar.precision}, TensorRT {sidecar.tensorrt})"
    )


def _parse(flags: dict[str, Any]) -> tuple[EngineOptions, list[Expected]]:
    """What to build, and what the network must be. Raises UsageError for flags that make no sense."""
    from qatkit.engine.tensorrt.expected import Expected, parse_dims, parse_profile
    from qatkit.engine.tensorrt.plan import BatchProfile, EngineOptions

    largest, core = flags["max_batch_size"], flags["dla_core"]
    # A DLA takes one batch size only.
    batch = BatchProfile(1 if core is None else largest, largest, largest)
    given = (largest,) if options.is_given("max_batch_size") and not flags["profile"] else ()
    outputs = tuple(flags["output_nodes"].split(",")) if flags["output_nodes"] else ()
    expected = [
        Expected(parse_dims(flags["input_dims"]) if flags["input_dims"] else None, outputs=outputs, batches=given)
    ]
    for text in flags["profile"]:
        name, batch, dims = parse_profile(text)
        sizes = (batch.minimum, batch.optimum, batch.maximum)
        expected.append(Expected(dims, name, batches=sizes))
    return options.build(EngineOptions, flags, batch=batch), expected
