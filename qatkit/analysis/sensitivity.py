"""What each layer costs in INT8: mAP with one kernel quantized at a time, and the layers worth leaving in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qatkit.analysis.tensor_error import decibels
from qatkit.console import track
from qatkit.dataset.batches import Batch
from qatkit.engine.base import Engine
from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.evaluation.evaluate import EvaluationSettings, evaluate
from qatkit.export.export import ExportReport
from qatkit.export.qdq import to_qdq_onnx
from qatkit.graph.graph import Graph
from qatkit.quantization.kernels import Kernel, int8_kernels, only
from qatkit.quantization.placement import place
from qatkit.quantization.plan import QuantizationPlan

# A loss of mAP that is not worth a float layer; and how many are tried to come down to it.
_SMALL_LOSS = 0.5
_MOST_SKIPPED = 8
# mAP that layers in float must bring to be worth it.
_WORTH = 0.25


@dataclass(frozen=True)
class Outcome:
    """What a plan comes to. map: percent. cov_sqnr_db: of the coverage output against that of the float network."""

    map: float
    cov_sqnr_db: float


@dataclass(frozen=True)
class KernelCost:
    """What an INT8 kernel costs alone. layer: its first layer. drop: the mAP of the float network minus `map`."""

    layer: str
    map: float
    drop: float
    cov_sqnr_db: float


@dataclass(frozen=True)
class Sensitivity:
    """images: how many were seen. fp32_map, int8_map: nothing and everything quantized, on these images.

    layers: the costliest first. skip: the layers worth leaving in float, and the mAP without them in INT8; none where
    INT8 loses little or leaving layers out does not help.
    """

    images: int
    fp32_map: float
    int8_map: float
    layers: tuple[KernelCost, ...]
    skip: tuple[str, ...] = ()
    skip_map: float | None = None


Attempt = Callable[[QuantizationPlan], Outcome]


def measure(graph: Graph, plan: QuantizationPlan, fp32_map: float, images: int, attempt: Attempt) -> Sensitivity:
    """Try every kernel of `plan` alone, then everything but the costliest ones. attempt: measures a plan."""
    kernels = int8_kernels(graph, plan)
    costs = {kernel: attempt(only(plan, kernel)) for kernel in track(kernels, "Sensitivity", len(kernels))}
    # Where mAP cannot tell them apart, the coverage output does.
    ranked = sorted(kernels, key=lambda kernel: (costs[kernel].map, costs[kernel].cov_sqnr_db))
    rows = [
        KernelCost(kernel.name, costs[kernel].map, fp32_map - costs[kernel].map, costs[kernel].cov_sqnr_db)
        for kernel in ranked
    ]
    int8_map = attempt(plan).map
    costly = [kernel for kernel in ranked if fp32_map - costs[kernel].map > _WORTH]
    search = _Search(graph, plan, attempt)
    skip = search.thinned(search.enough(costly, int8_map, fp32_map - _SMALL_LOSS))
    layers = tuple(name for kernel in skip for name in kernel.skip)
    return Sensitivity(images, fp32_map, int8_map, tuple(rows), layers, search.map(skip) if skip else None)


class _Search:
    """Looks for the kernels of a plan that are worth leaving in float."""

    def __init__(self, graph: Graph, plan: QuantizationPlan, attempt: Attempt) -> None:
        self._graph = graph
        self._plan = plan
        self._attempt = attempt
        self._known: dict[frozenset[Kernel], float] = {}

    def map(self, skipped: Sequence[Kernel]) -> float:
        """mAP with all kernels in INT8 but `skipped`."""
        key = frozenset(skipped)
        if key not in self._known:
            names = (*self._plan.skip, *(name for kernel in skipped for name in kernel.skip))
            self._known[key] = self._attempt(place(self._graph, self._plan.placement, names)).map
        return self._known[key]

    def enough(self, costly: Sequence[Kernel], reached: float, wanted: float) -> list[Kernel]:
        """The first of `costly` with which the most mAP is reached, up to those that reach `wanted`.

        One alone may bring nothing: a tensor stays INT8 until all that read it are float.
        """
        best: list[Kernel] = []
        for count in range(1, min(len(costly), _MOST_SKIPPED) + 1):
            if reached >= wanted:
                break
            tried = list(costly[:count])
            if self.map(tried) > reached + _WORTH:
                best, reached = tried, self.map(tried)
        return best

    def thinned(self, skipped: list[Kernel]) -> list[Kernel]:
        """`skipped` without those that bring nothing, the least costly tried first."""
        least = self.map(skipped) - _WORTH if skipped else 0.0
        for kernel in reversed(skipped):
            rest = [one for one in skipped if one is not kernel]
            if rest and self.map(rest) > least:
                skipped = rest
        return skipped


class Trials:
    """Measures plans of one model on labelled images. A trial is the Q/DQ network of the plan, run with integers."""

    def __init__(self, report: ExportReport, batches: Iterable[Batch], settings: EvaluationSettings) -> None:
        """report: of an INT8 export, for the ranges of all tensors. batches: as `evaluate` takes them."""
        self._deployment = report.deployment
        self.plan = report.deployment.int8_plan
        self._ranges = report.deployment.by_node(report.ranges)
        self._batches = list(batches)
        self._settings = settings
        self._expected: list[NDArray[np.float32]] = []

    def reference(self, engine: Engine) -> float:
        """mAP of the float network; later outcomes are compared with its coverage."""
        result, self._expected = self._evaluate(engine)
        return result

    def __call__(self, plan: QuantizationPlan) -> Outcome:
        """Measure `plan`, after `reference`."""
        explicit = to_qdq_onnx(self._deployment.deployed, plan, self._ranges, self._deployment.metadata)
        result, found = self._evaluate(open_onnx(OnnxFile.of(explicit, Path(explicit.graph.name))))
        pairs = list(zip(self._expected, found, strict=True))
        power = sum(float(np.square(one, dtype=np.float64).sum()) for one, _ in pairs)
        error = sum(float(np.square(one - other, dtype=np.float64).sum()) for one, other in pairs)
        return Outcome(result, decibels(power, error))

    def _evaluate(self, engine: Engine) -> tuple[float, list[NDArray[np.float32]]]:
        coverages = []

        def predict(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            cov, bbox = engine.predict(images)
            coverages.append(cov)
            return cov, bbox

        return evaluate(predict, self._batches, self._settings).map, coverages
