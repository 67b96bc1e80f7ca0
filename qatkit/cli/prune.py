"""`qatkit prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qatkit.choices import Criterion, Normalizer
from qatkit.cli import options
from qatkit.cli.tao import TaoCommand
from qatkit.errors import UsageError

if TYPE_CHECKING:
    from qatkit.pruning.prune import LayerRow, PruneResult

# What INT8 kernels of a GPU compute at once.
_GPU_CHANNELS = 32


@click.command(cls=TaoCommand)
@options.model(required=True, help=": .tlt, or TAO's .hdf5")
@options.file("-o", "--output_file", required=True, help="File of the pruned model.")
@options.key
@options.choice(
    "-n",
    "--normalizer",
    values=Normalizer,
    default="max",
    help="What filter norms are related to: the layer's largest, or all of them.",
)
@options.choice(
    "-eq",
    "--equalization_criterion",
    "criterion",
    values=Criterion,
    default="union",
    help="How the norms of layers that are added are merged.",
)
@options.count(
    "-pg",
    "--pruning_granularity",
    "granularity",
    default=8,
    help="Filters stay in multiples of this; 32 where INT8 on a GPU is the target.",
)
@click.option(
    "-pth",
    "--pruning_threshold",
    "threshold",
    type=click.FloatRange(min=0),
    help="Filters with a norm above this stay.  [default: 0.1]",
)
@click.option(
    "--target_ratio",
    type=click.FloatRange(0, 1, min_open=True),
    help="Instead of -pth: the part of the parameters to keep; the threshold is found.",
)
@options.count("-nf", "--min_num_filters", default=16, help="No layer gets smaller than this.")
@click.option(
    "-el", "--excluded_layers", "excluded", multiple=True, help="Layers whose filters all stay: one or more names."
)
@options.results_dir()
@options.verbose("List the filters that stay.")
def prune(
    model: Path,
    output_file: Path,
    key: str,
    target_ratio: float | None,
    results_dir: Path | None,
    verbose: bool,
    **flags: Any,
) -> None:
    """Remove the filters with the smallest norms.

    Layers that are added keep the same filters. Retrain the result: `load_graph: true` with the pruned model as
    pretrained_model_file.
    """
    from qatkit.pruning.prune import PruneOptions
    from qatkit.workflow.prune import prune_model

    if flags["threshold"] is not None and target_ratio is not None:
        raise UsageError("-pth and --target_ratio exclude each other", hint="the ratio finds the threshold")
    chosen = options.build(PruneOptions, flags)
    result = prune_model(model, output_file, chosen, key=key, target_ratio=target_ratio, results_dir=results_dir)
    _show(result, output_file, verbose=verbose)


def _show(result: PruneResult, output: Path, *, verbose: bool) -> None:
    from qatkit.console import info, table

    table(["layer", "filters", "parameters", "multiply-adds (M)", "unpruned because"], map(_cells, result.rows))
    if verbose:
        for layer, indices in result.kept.items():
            info(f"{layer} keeps {' '.join(map(str, indices))}")
    info(f"Threshold: {result.threshold:g}")
    info(f"Pruning ratio (pruned model / original model): {result.params_ratio}")
    info(f"Multiply-adds (pruned model / original model): {result.macs_ratio}")
    if line := _uneven(result):
        info(line)
    info(f"Model written to {output}")


def _uneven(result: PruneResult) -> str:
    """That a GPU gains little from this pruning, "" where it gains."""
    pruned, uneven = [row for row in result.rows if not row.reason], result.uneven(_GPU_CHANNELS)
    if not uneven:
        return ""
    filters = sum(row.filters_after for row in uneven)
    return (
        f"Channels that are no multiple of {_GPU_CHANNELS}: {filters} filters, in {len(uneven)} of {len(pruned)} "
        f"pruned layers; for INT8 on a GPU: -pg {_GPU_CHANNELS}"
    )


def _cells(row: LayerRow) -> list[str]:
    return [
        row.layer,
        _change(f"{row.filters_before}", f"{row.filters_after}"),
        _change(f"{row.params_before}", f"{row.params_after}"),
        _change(f"{row.macs_before / 1e6:.1f}", f"{row.macs_after / 1e6:.1f}"),
        row.reason,
    ]


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
