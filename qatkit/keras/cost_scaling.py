"""Cost scaling (`training_config.cost_scaling`), as in TAO: the cost is multiplied by 2^X, its gradients are divided.

X grows by `increment` with each step and falls by `decrement` where a gradient is not finite; that step's update is
made with gradients of 0, so that the moments of Adam decay and the weights stay numbers. float16 needs this for small
gradients. bfloat16 and float32, in which qatkit computes, have the range without it: here it only guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.spec import CostScalingConfig


class CostScaling:
    """The exponent, and how many steps had a gradient that is not finite. Build it inside `strategy.scope()`."""

    def __init__(self, config: CostScalingConfig) -> None:
        self._increment = config.increment
        self._decrement = config.decrement
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.exponent = tf.Variable(config.initial_exponent, trainable=False, dtype=tf.float32, aggregation=first)
        self.bad_steps = tf.Variable(0, trainable=False, dtype=tf.int64, aggregation=first)

    @classmethod
    def from_spec(cls, config: CostScalingConfig) -> CostScaling | None:
        """That of a training spec; None where it is not enabled."""
        return cls(config) if config.enabled else None

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """What gradients are to be taken of."""
        return loss * self._factor()

    def unscaled(self, gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
        """The gradients of the loss itself, or zeros if one of any replica is not finite; moves the exponent."""
        found = [gradient for gradient in gradients if gradient is not None]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in found])
        context = tf.distribute.get_replica_context()
        bad = context.all_reduce(tf.distribute.ReduceOp.SUM, 1.0 - tf.cast(finite, tf.float32)) > 0
        factor = self._factor()
        self.exponent.assign_add(tf.where(bad, -self._decrement, self._increment))
        self.bad_steps.assign_add(tf.cast(bad, tf.int64))
        # Not `gradient * 0`, which is no number where the gradient is none.
        return [one if one is None else tf.where(bad, tf.zeros_like(one), one / factor) for one in gradients]

    def _factor(self) -> tf.Tensor:
        return tf.pow(2.0, tf.convert_to_tensor(self.exponent))

    def state(self) -> dict[str, NDArray[Any]]:
        """For a checkpoint."""
        return {
            "cost_scaling/exponent": np.asarray(self.exponent.numpy()),
            "cost_scaling/bad_steps": np.asarray(self.bad_steps.numpy()),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from `state()`."""
        self.exponent.assign(arrays["cost_scaling/exponent"])
        self.bad_steps.assign(arrays["cost_scaling/bad_steps"])
