"""Costs, their gradients and the automatic weights against the reference vectors (tolerance 1e-5 relative)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.keras.cost import OBJECTIVES, CostConfig, component_costs, task_cost, updated_objective_weights
from qatkit.keras.rasterizer import Targets
from qatkit.spec import CostFunctionConfig
from tests.support import golden_data

TOPIC = "04_cost"


def config_of(case: dict[str, Any]) -> CostConfig:
    message = CostFunctionConfig(
        enable_autoweighting=case["enable_autoweighting"],
        min_objective_weight=case["min_objective_weight"],
        max_objective_weight=case["max_objective_weight"],
    )
    for target in case["target_classes"]:
        message.target_classes.add(
            name=target["name"],
            class_weight=target["class_weight"],
            coverage_foreground_weight=target["coverage_foreground_weight"],
            objectives=[CostFunctionConfig.TargetClass.Objective(**item) for item in target["objectives"]],
        )
    return CostConfig.from_spec(message)


def nhwc(case: dict[str, Any], pattern: str) -> NDArray[np.float32]:
    """The arrays of all classes, [N, channels, H, W] each, joined along the channels and moved to NHWC."""
    arrays = [golden_data.array(TOPIC, case, pattern.format(target["name"])) for target in case["target_classes"]]
    return np.concatenate(arrays, axis=1).transpose(0, 2, 3, 1)


def targets_of(case: dict[str, Any]) -> tuple[Targets, NDArray[np.float32]]:
    """The targets of a case, and the weight 1 of each frame."""
    targets = Targets(*(nhwc(case, f"target_{{}}_{name}") for name in Targets._fields))
    return targets, np.ones(len(targets.cov), np.float32)


def per_class(case: dict[str, Any], values: dict[str, dict[str, float]]) -> NDArray[np.float32]:
    rows = [[values[target["name"]][objective] for objective in OBJECTIVES] for target in case["target_classes"]]
    return np.asarray(rows, np.float32)


@golden_data.parametrize(TOPIC)
def test_costs_and_weights_over_a_run(case: dict[str, Any]) -> None:
    config = config_of(case)
    weights, sums = config.initial_weights, np.zeros_like(config.initial_weights)
    for number, step in enumerate(case["steps"]):
        components = component_costs(
            config,
            nhwc(case, f"pred_cov_step{number}_{{}}"),
            nhwc(case, f"pred_bbox_step{number}_{{}}"),
            *targets_of(case),
        ).numpy()
        np.testing.assert_allclose(components, per_class(case, step["component_costs"]), rtol=1e-5)
        np.testing.assert_allclose(weights, per_class(case, step["objective_weights_used"]), rtol=1e-5)
        assert float(task_cost(config, components, weights)) == pytest.approx(step["total_cost"], rel=1e-5)
        sums = sums + components
        if (number + 1) % case["steps_per_epoch"] == 0:
            if config.autoweighting:
                weights = updated_objective_weights(config, sums, weights)
            sums = np.zeros_like(sums)
        np.testing.assert_allclose(weights, per_class(case, step["objective_weights_after_step"]), rtol=1e-5)


@golden_data.parametrize(TOPIC)
def test_gradients(case: dict[str, Any]) -> None:
    config = config_of(case)
    cov = tf.constant(nhwc(case, "pred_cov_step0_{}"))
    bbox = tf.constant(nhwc(case, "pred_bbox_step0_{}"))
    with tf.GradientTape() as tape:
        tape.watch([cov, bbox])
        cost = task_cost(config, component_costs(config, cov, bbox, *targets_of(case)), config.initial_weights)
    for found, name in zip(tape.gradient(cost, [cov, bbox]), ("cov", "bbox")):
        expected = nhwc(case, f"grad_{name}_step0_{{}}")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def one_class(**changes: float) -> CostConfig:
    values = {
        "class_weights": np.ones(1, np.float32),
        "foreground_weights": np.full(1, 0.05, np.float32),
        "initial_weights": np.full((1, 2), 0.5, np.float32),
        "weight_targets": np.array([[1.0, 10.0]], np.float32),
        "autoweighting": True,
        "minimum_weight": 1e-4,
        "maximum_weight": 0.9999,
    }
    return CostConfig(**{**values, **changes})


@pytest.mark.parametrize(
    "target, prediction, cost",
    [
        (1.0, 0.9, 0.0052675),
        (1.0, 0.1, 0.1151243),
        (0.0, 0.1, 0.1000819),
        (0.5, 0.5, 0.6584708),
        (0.5625, 0.5, 0.0346564),
    ],
)
def test_coverage_cost_by_hand(target: float, prediction: float, cost: float) -> None:
    cell = np.ones((1, 1, 1, 1), np.float32)
    sides = np.zeros((1, 1, 1, 4), np.float32)
    components = component_costs(
        one_class(), cell * prediction, sides, Targets(cell * target, sides, cell), np.ones(1, np.float32)
    )
    assert components.numpy()[0, 0] == pytest.approx(cost, rel=1e-4)


def test_frame_weight_multiplies_both_costs() -> None:
    cov, bbox = np.full((2, 1, 1, 1), 0.5, np.float32), np.ones((2, 1, 1, 4), np.float32)
    target = np.zeros((2, 1, 1, 1), np.float32)
    norm = np.ones((2, 1, 1, 1), np.float32)
    arguments = (one_class(), cov, bbox, Targets(target, 0 * bbox, norm))
    once = component_costs(*arguments, tf.constant([1.0, 1.0])).numpy()
    np.testing.assert_allclose(component_costs(*arguments, tf.constant([2.0, 4.0])).numpy(), 3 * once, rtol=1e-6)


@pytest.mark.parametrize(
    "sums, expected",
    [
        ([[0.02, 0.005]], [[0.0243902, 0.9756098]]),
        ([[0.0, 0.0]], [[0.5, 0.5]]),  # a class without cost keeps its weights
        ([[0.0, 0.005]], [[1e-4, 0.9999]]),
    ],
)
def test_objective_weights_by_hand(sums: list[list[float]], expected: list[list[float]]) -> None:
    config = one_class()
    found = updated_objective_weights(config, np.asarray(sums, np.float32), config.initial_weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
