"""Channel pruning: choose the channels by the norms of their filters, cut the others out, and report."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from qatkit.errors import UsageError
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import CONVOLUTIONS, DepthwiseConv2D
from qatkit.pruning.channels import ChannelGroups, group_channels
from qatkit.pruning.norms import Array, Criterion, Normalizer, filter_norms, keep, merge, normalize
from qatkit.pruning.surgery import Indices, cut, kept_channels


@dataclass(frozen=True)
class PruneOptions:
    """TAO's flags of `prune`, with its defaults.

    A filter's norm is divided by its layer's largest one (normalizer max) or related to the layer's norms together
    (L2); filters above `threshold` stay, at least `min_num_filters` of a layer, rounded up to a multiple of
    `granularity`. `criterion` merges the norms of layers that must keep the same channels. The channels of `excluded`
    layers and of the network's outputs stay.
    """

    normalizer: Normalizer = "max"
    criterion: Criterion = "union"
    granularity: int = 8
    min_num_filters: int = 16
    threshold: float = 0.1
    excluded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.normalizer not in get_args(Normalizer):
            raise UsageError(f"normalizer: {self.normalizer!r} is none", hint="max or L2")
        if self.criterion not in get_args(Criterion):
            raise UsageError(f"criterion: {self.criterion!r} is none", hint=", ".join(get_args(Criterion)))
        if self.granularity < 1:
            raise UsageError(f"pruning granularity: should be 1 or more, found {self.granularity}")
        if self.min_num_filters < 1:
            raise UsageError(f"minimum number of filters: should be 1 or more, found {self.min_num_filters}")
        if not self.threshold >= 0:
            raise UsageError(f"pruning threshold: should be 0 or more, found {self.threshold}")


@dataclass(frozen=True)
class LayerRow:
    """One convolution before and after; `reason` says why it lost nothing, "" when it lost filters."""

    layer: str
    filters_before: int
    filters_after: int
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    reason: str


@dataclass(frozen=True)
class PruneResult:
    """The smaller network; kept: convolution -> its filters that stayed, ascending; the report."""

    graph: Graph
    kept: dict[str, Indices]
    rows: tuple[LayerRow, ...]
    threshold: float
    params_before: int
    macs_before: int

    @property
    def params_ratio(self) -> float:
        """Parameters after / before, batch-norm statistics included."""
        return self.graph.params / self.params_before

    def uneven(self, multiple: int) -> tuple[LayerRow, ...]:
        """The layers that lost filters and kept a number that is no multiple of `multiple`."""
        return tuple(row for row in self.rows if not row.reason and row.filters_after % multiple)

    @property
    def macs_ratio(self) -> float:
        """Multiply-adds after / before."""
        return self.graph.macs / self.macs_before


def prune(graph: Graph, options: PruneOptions, target_ratio: float | None = None) -> PruneResult:
    """Prune `graph` with the threshold in `options`, or where there is a `target_ratio` as `prune_to_ratio`.

    Raises UsageError for an excluded layer that does not exist.
    """
    if target_ratio is not None:
        return prune_to_ratio(graph, options, target_ratio)
    return _Pruner(graph, options).prune(options.threshold)


def prune_to_ratio(graph: Graph, options: PruneOptions, target: float) -> PruneResult:
    """Prune `graph` with the smallest threshold that leaves at most `target` (0..1) of its parameters.

    The threshold in `options` is not used. Raises UsageError when no threshold goes that far.
    """
    if not 0 < target <= 1:
        raise UsageError(f"target ratio: should lie within 0 and 1, found {target}")
    pruner = _Pruner(graph, options)
    thresholds = pruner.thresholds()
    low, high = 0, len(thresholds) - 1
    result = pruner.prune(thresholds[high])
    if result.params_ratio > target:
        raise UsageError(
            f"target ratio {target}: pruning stops at {result.params_ratio:.4f}",
            hint="lower the minimum number of filters or the granularity, or exclude fewer layers",
        )
    # The ratio falls as the threshold rises, and changes only where the threshold passes a filter's statistic.
    while low < high:
        middle = (low + high) // 2
        found = pruner.prune(thresholds[middle])
        if found.params_ratio <= target:
            high, result = middle, found
        else:
            low = middle + 1
    return result


class _Pruner:
    """What does not depend on the threshold: groups and statistics."""

    def __init__(self, graph: Graph, options: PruneOptions) -> None:
        _check_excluded(graph, options.excluded)
        self.graph = graph
        self.options = options
        self.groups = group_channels(graph, options.excluded)
        self.stats = _group_statistics(graph, self.groups, options)

    def thresholds(self) -> list[float]:
        """Every threshold that can make a difference, ascending; 0 first."""
        return [0.0, *np.unique(np.concatenate([np.zeros(0), *self.stats.values()])).tolist()]

    def prune(self, threshold: float) -> PruneResult:
        options = self.options
        kept = {group: np.arange(size) for group, size in self._sizes().items()}
        for group, stats in self.stats.items():
            kept[group] = keep(stats, threshold, options.granularity, options.min_num_filters)
        smaller = cut(self.graph, self.groups, kept)
        return PruneResult(
            graph=smaller,
            kept={name: kept_channels(self.groups.rows[name], kept) for name in _convolutions(self.graph)},
            rows=tuple(self._row(name, smaller, threshold) for name in _convolutions(self.graph)),
            threshold=threshold,
            params_before=self.graph.params,
            macs_before=self.graph.macs,
        )

    def _sizes(self) -> dict[int, int]:
        return {segment.group: segment.size for row in self.groups.rows.values() for segment in row}

    def _row(self, name: str, smaller: Graph, threshold: float) -> LayerRow:
        before, after = _Counts.of(self.graph, name), _Counts.of(smaller, name)
        reason = self._reason(name, threshold) if before.filters == after.filters else ""
        return LayerRow(
            name, before.filters, after.filters, before.params, after.params, before.macs, after.macs, reason
        )

    def _reason(self, name: str, threshold: float) -> str:
        groups = [segment.group for segment in self.groups.rows[name]]
        for group in groups:
            if group in self.groups.fixed:
                return self.groups.fixed[group]
        if all((self.stats[group] > threshold).all() for group in groups):
            return "all above the threshold"
        if all(len(self.stats[group]) <= self.options.min_num_filters for group in groups):
            return "min_num_filters"
        return "granularity"


@dataclass(frozen=True)
class _Counts:
    filters: int
    params: int
    macs: int

    @classmethod
    def of(cls, graph: Graph, name: str) -> _Counts:
        node = graph[name]
        params = sum(graph.weights[weight].size for weight in node.weight_names())
        return cls(graph.shape(name)[2], params, node.macs(graph.input_shapes(node)))


def _convolutions(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes if isinstance(node, CONVOLUTIONS)]


def _check_excluded(graph: Graph, excluded: tuple[str, ...]) -> None:
    names = [node.name for node in graph.nodes]
    for name in excluded:
        if name not in graph:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
            raise UsageError(f"excluded layer {name!r}: there is no such layer", hint=f"do you mean {nearest[0]}?")


def _group_statistics(graph: Graph, groups: ChannelGroups, options: PruneOptions) -> dict[int, Array]:
    """The merged statistic [channels] of every group that may lose channels."""
    layers: Mapping[str, Array] = {
        name: normalize(_norms(graph, name), options.normalizer) for name in _convolutions(graph)
    }
    return {
        group: merge([layers[m.layer][m.start : m.start + m.size] for m in members], options.criterion)
        for group, members in groups.members.items()
        if group not in groups.fixed
    }


def _norms(graph: Graph, name: str) -> NDArray[np.float64]:
    return filter_norms(graph.weight(name, "kernel"), depthwise=isinstance(graph[name], DepthwiseConv2D))
