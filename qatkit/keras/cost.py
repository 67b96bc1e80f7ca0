"""The DetectNet_v2 cost: coverage and bbox terms per class, and their automatic weights.

All tensors are NHWC: coverage [B, h, w, C], boxes [B, h, w, 4C] (channel 4c + k), the order of the spec's classes.
Reference: TAO's cost function (`coverage_foreground_weight` weighs cells with a target above 0.5, all others get the
rest to 1; 1e-5 inside both logarithms).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.keras.rasterizer import Targets
from qatkit.spec import CostFunctionConfig

OBJECTIVES = ("cov", "bbox")
_EPSILON = 1e-5


@dataclass(frozen=True)
class CostConfig:
    """The numbers of `cost_function_config`, one entry or row per class; columns are cov and bbox.

    class_weights sum to 1, and so does each row of initial_weights.
    """

    class_weights: NDArray[np.float32]
    foreground_weights: NDArray[np.float32]
    initial_weights: NDArray[np.float32]
    weight_targets: NDArray[np.float32]
    autoweighting: bool
    minimum_weight: float
    maximum_weight: float

    @classmethod
    def from_spec(cls, config: CostFunctionConfig) -> CostConfig:
        """Read a spec's message (the spec loader has checked it)."""
        class_weights = np.array([target.class_weight for target in config.target_classes], np.float32)
        objectives = [{item.name: item for item in target.objectives} for target in config.target_classes]
        initial = np.array([[row[name].initial_weight for name in OBJECTIVES] for row in objectives], np.float32)
        targets = np.array([[row[name].weight_target for name in OBJECTIVES] for row in objectives], np.float32)
        return cls(
            class_weights / class_weights.sum(),
            np.array([target.coverage_foreground_weight for target in config.target_classes], np.float32),
            initial / initial.sum(axis=1, keepdims=True),
            targets,
            config.enable_autoweighting,
            config.min_objective_weight,
            config.max_objective_weight,
        )


def component_costs(
    config: CostConfig,
    cov: tf.Tensor,
    bbox: tf.Tensor,
    targets: Targets,
    frame_weight: tf.Tensor,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean cost [C, 2] (cov, bbox) of each class over the batch and the grid, without objective weights.

    frame_weight: [B], multiplies every term of a frame. mask: [B, h, w, C, 2], multiplies the terms of cells too.
    """
    weight = box_weight = frame_weight[:, None, None, None]
    if mask is not None:
        weight, box_weight = weight * mask[..., 0], tf.repeat(weight * mask[..., 1], 4, axis=-1)
    foreground = tf.constant(config.foreground_weights)
    cell_weight = tf.where(targets.cov > 0.5, foreground, 1.0 - foreground)
    # (1 + epsilon) - cov, in this order: where cov is exactly 1, float32 gives TAO's cost and gradient only so.
    log_background = tf.math.log((1.0 + _EPSILON) - cov)
    cross_entropy = -(targets.cov * tf.math.log(cov + _EPSILON) + (1.0 - targets.cov) * log_background)
    cov_cost = tf.reduce_mean(weight * cell_weight * cross_entropy, axis=[0, 1, 2])
    per_box = tf.abs(bbox - targets.bbox) * tf.repeat(targets.cov_norm, 4, axis=-1)
    per_class = tf.reshape(tf.reduce_mean(box_weight * per_box, axis=[0, 1, 2]), [-1, 4])
    return tf.stack([cov_cost, tf.reduce_mean(per_class, axis=1)], axis=1)


def task_cost(config: CostConfig, components: tf.Tensor, objective_weights: tf.Tensor) -> tf.Tensor:
    """The weighted sum of `component_costs` [C, 2] with `objective_weights` [C, 2]."""
    return tf.reduce_sum(tf.constant(config.class_weights)[:, None] * objective_weights * components)


def updated_objective_weights(
    config: CostConfig, cost_sums: NDArray[np.float32], present: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Objective weights [C, 2] for the next epoch, from the sums of `component_costs` over the last one.

    Each objective's share of the weighted cost tends to its `weight_target`. The clamp comes after the
    normalization and nothing is normalized after it, as in TAO. A class without cost keeps its weights.
    """
    inverse = np.divide(config.weight_targets, cost_sums, out=np.zeros_like(cost_sums), where=cost_sums != 0)
    total = inverse.sum(axis=1, keepdims=True)
    normalized = np.divide(inverse, total, out=np.zeros_like(inverse), where=total != 0)
    clamped = np.clip(normalized, config.minimum_weight, config.maximum_weight).astype(np.float32)
    return np.where(total != 0, clamped, present)
