"""What each layer costs: the search with invented outcomes, and trials of a small network."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from qatkit.analysis.sensitivity import Outcome, Trials, measure
from qatkit.analysis.tensor_error import LIMIT_DB
from qatkit.detectnet.clustering import Algorithm, ClusteringParams
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.evaluation.evaluate import EvaluationSettings
from qatkit.evaluation.matching import Criteria
from qatkit.export.export import export
from qatkit.quantization.kernels import int8_kernels, only
from qatkit.quantization.placement import place
from qatkit.quantization.plan import QuantizationPlan
from tests.support.models import float_model, images_of, options
from tests.support.networks import residual

GRAPH = residual(projection=True).graph()
PLAN = place(GRAPH)
FP32 = 80.0


class World:
    """mAP falls by 10 for each of these tensors that is INT8, by 0.05 for any other."""

    def __init__(self, bad: Collection[str]) -> None:
        self.bad = bad
        self.tried: list[QuantizationPlan] = []

    def __call__(self, plan: QuantizationPlan) -> Outcome:
        self.tried.append(plan)
        lost = sum(10 if name in self.bad else 0.05 for name in plan.activations)
        return Outcome(FP32 - lost, 40 - lost)


def test_nothing_to_skip() -> None:
    found = measure(GRAPH, PLAN, FP32, 8, World(()))
    assert (found.images, found.fp32_map, found.int8_map) == (8, 80, 79.75)
    assert (found.skip, found.skip_map) == ((), None)
    # Kernels with three tensors cost most, then those with two in the network's order.
    assert [(cost.layer, cost.drop) for cost in found.layers] == [
        ("b", pytest.approx(0.15)),
        *((name, pytest.approx(0.1)) for name in ("stem", "a", "shortcut")),
    ]


@pytest.mark.parametrize(
    "bad, skip",
    [
        pytest.param(("a_relu",), {"b", "sum"}, id="what reads a bad tensor, not what writes it"),
        pytest.param(("stem_relu",), {"a", "shortcut"}, id="all that read it"),
        pytest.param(("input_1", "shortcut_bn"), {"stem", "b", "sum"}, id="two tensors"),
    ],
)
def test_what_is_worth_skipping(bad: tuple[str, ...], skip: set[str]) -> None:
    world = World(bad)
    found = measure(GRAPH, PLAN, FP32, 8, world)
    assert set(found.skip) == skip
    assert found.skip_map == world(place(GRAPH, skip=found.skip)).map > 79.5 > found.int8_map + 9
    assert found.layers[0].drop > 10 and len(world.tried) < 4 + 1 + 2 * 4 + 1


def test_skipping_that_does_not_help_is_not_proposed() -> None:
    found = measure(GRAPH, PLAN, FP32, 8, lambda plan: Outcome(50.0, 10.0))
    assert (found.int8_map, found.skip, found.skip_map) == (50, (), None)


@pytest.fixture
def trials(tmp_path: Path) -> tuple[Trials, float]:
    model = float_model()
    report = export(model, tmp_path / "model.onnx", options(tmp_path), [images_of(model)])
    nms = ClusteringParams(Algorithm.NMS, coverage_threshold=0.01)
    settings = EvaluationSettings(model.labels.classes, (nms,) * 2, (Criteria(0.5),) * 2, scale=30.0, offset=0.25)
    labels = {"boxes": np.array([[[2, 2, 20, 14]]], np.float32), "class_ids": np.zeros((1, 1), np.int32)}
    batches = [{"image": image[None], **labels} for image in images_of(model)]
    trials = Trials(report, batches, settings)
    return trials, trials.reference(open_onnx(report.onnx))


def test_trials(trials: tuple[Trials, float]) -> None:
    trial, reference = trials
    everything = trial(trial.plan)
    alone = [trial(only(trial.plan, kernel)) for kernel in int8_kernels(GRAPH, trial.plan)]
    assert 0 <= reference <= 100 and all(0 <= outcome.map <= 100 for outcome in alone)
    # One layer in INT8 is nearer to the float network than all of them.
    assert all(15 < everything.cov_sqnr_db < outcome.cov_sqnr_db < LIMIT_DB for outcome in alone)


def test_a_trial_with_skipped_layers(trials: tuple[Trials, float]) -> None:
    trial, _ = trials
    assert trial(place(GRAPH, skip=("b", "sum"))).cov_sqnr_db > trial(trial.plan).cov_sqnr_db
