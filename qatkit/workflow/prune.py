"""`qatkit prune`: a model file in, a smaller one out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qatkit import status
from qatkit.console import info, warn
from qatkit.files import check_file
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from qatkit.pruning.prune import PruneOptions, PruneResult, prune


def prune_model(
    source: Path,
    output: Path,
    options: PruneOptions,
    *,
    key: str = "",
    target_ratio: float | None = None,
    results_dir: Path | None = None,
) -> PruneResult:
    """Prune the model at `source` (.tlt, or .hdf5 of TAO 5) and write it to exactly `output`.

    target_ratio: instead of the threshold in `options`, the smallest one that leaves at most this part of the
    parameters. results_dir: where status.json goes. The pruned model is encrypted with the same key, if there is one.
    """
    with status.run("prune", results_dir) as log:
        check_file(output)
        model = open_model(source, key)
        result = _pruned(model, options, target_ratio)
        save_model(output, replace(model, graph=result.graph, pruned=True), key or None)
        log.succeed(kpi=_kpi(result, output))
    return result


def _pruned(model: Model, options: PruneOptions, target_ratio: float | None) -> PruneResult:
    if model.is_qat:
        info("The model was trained with QAT: its ranges stay as they are. The usual order is: prune, then QAT.")
    result = prune(model.graph, options, target_ratio)
    if result.params_ratio == 1:
        warn("no filter was removed: a higher threshold (-pth) or a smaller minimum (-nf) removes more")
    return result


def _kpi(result: PruneResult, output: Path) -> dict[str, float]:
    """TAO's keys (size in MB, parameters in millions), and the multiply-adds."""
    return {
        "pruning_ratio": result.params_ratio,
        "macs_ratio": result.macs_ratio,
        "size": output.stat().st_size / 2**20,
        "param_count": result.graph.params / 1e6,
    }
