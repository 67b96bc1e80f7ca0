"""What a training or another command starts from: a whole model, or the weights of a backbone, from any file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qatkit.errors import ModelError
from qatkit.graph.build import BBOX, COV
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Node
from qatkit.model.file import read_tlt
from qatkit.model.hdf5 import LayerWeights, is_hdf5, read_hdf5_weights

Status = Literal["loaded", "missing", "mismatched"]
_LISTED = 5
_QUANTIZER = frozenset({"scaling_factor"})  # the weight of TAO's fake quantization, which is no layer of a backbone


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer: its weights were loaded, were not in the file, or had another shape there."""

    layer: str
    status: Status
    detail: str = ""


@dataclass(frozen=True)
class BackboneReport:
    """What became of every layer with weights; skipped: those that only the file has, and the heads."""

    path: Path
    rows: tuple[LayerReport, ...]
    skipped: tuple[str, ...] = ()

    def layers(self, status: Status) -> list[LayerReport]:
        """The layers that ended so."""
        return [row for row in self.rows if row.status == status]

    def summary(self) -> str:
        """One line: how many layers were loaded, all that were not and why, all of the file that were not taken."""
        loaded = f"{self.path}: weights of {len(self.layers('loaded'))} of {len(self.rows)} layers loaded"
        parts = [loaded]
        if missing := self.layers("missing"):
            parts.append(f"not in the file: {', '.join(row.layer for row in missing)}")
        if mismatched := self.layers("mismatched"):
            parts.append(f"of another shape: {', '.join(f'{row.layer} ({row.detail})' for row in mismatched)}")
        if self.skipped:
            parts.append(f"skipped in the file: {', '.join(self.skipped)}")
        return "; ".join(parts)


def load_backbone(graph: Graph, path: Path, key: str | None = None) -> tuple[Graph, BackboneReport]:
    """`graph` with the weights that the file at `path` has for layers of the same name and shape.

    The file: a qatkit `.tlt`, a TAO `.hdf5` model of any kind, or `.h5` weights. The heads keep their weights, as in
    TAO. Raises ModelError when not a single layer fits: then it is the file of another network.
    """
    found = read_hdf5_weights(path) if is_hdf5(path) else _by_layer(read_tlt(path, key).graph)
    weights = dict(graph.weights)
    rows = []
    for node in graph.nodes:
        if node.parts and node.name not in (BBOX, COV):
            row = _compared(graph, node, found)
            if row.status == "loaded":
                weights.update({f"{node.name}/{part}": found[node.name][part] for part in node.parts})
            rows.append(row)
    ours = {row.layer for row in rows}
    skipped = (layer for layer, parts in found.items() if layer not in ours and not _QUANTIZER.issuperset(parts))
    report = BackboneReport(path, tuple(rows), tuple(skipped))
    if not report.layers("loaded"):
        raise ModelError(f"{path}: no layer fits {graph.name}", hint=_difference(graph, found, report))
    return graph.with_weights(weights), report


def _by_layer(graph: Graph) -> LayerWeights:
    return {node.name: {part: graph.weight(node.name, part) for part in node.parts} for node in graph.nodes}


def _compared(graph: Graph, node: Node, found: LayerWeights) -> LayerReport:
    arrays: Mapping[str, NDArray[np.float32]] = found.get(node.name, {})
    if not arrays:
        return LayerReport(node.name, "missing")
    for part in node.parts:
        expected = graph.weight(node.name, part).shape
        shape = arrays[part].shape if part in arrays else None
        if shape != expected:
            return LayerReport(node.name, "mismatched", f"{part} {expected}, in the file {shape or 'none'}")
    return LayerReport(node.name, "loaded")


def _difference(graph: Graph, found: LayerWeights, report: BackboneReport) -> str:
    if mismatched := report.layers("mismatched"):
        return f"{mismatched[0].layer}: {mismatched[0].detail}"
    theirs = [layer for layer, arrays in found.items() if arrays]
    return f"it has {_listed(theirs)}" if theirs else "it holds no weights"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
