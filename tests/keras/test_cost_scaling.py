"""Cost scaling: the weights do not notice it, unless a gradient is not finite."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from qatkit.keras.cost_scaling import CostScaling
from qatkit.spec import CostScalingConfig, TrainingConfig
from tests.support.detector import EPSILON, PLAIN_DESCENT, batch, detector, stepper

SCALING = CostScalingConfig(enabled=True, initial_exponent=4, increment=0.25, decrement=1)


def config(scaling: CostScalingConfig | None) -> TrainingConfig:
    return TrainingConfig(optimizer=PLAIN_DESCENT, cost_scaling=scaling)


def test_it_is_off_unless_it_is_enabled() -> None:
    assert CostScaling.from_spec(CostScalingConfig(initial_exponent=20, increment=1, decrement=1)) is None
    assert stepper(detector(), config(None)).scaling is None


def test_the_weights_do_not_notice() -> None:
    plain, scaled = stepper(detector(), config(None)), stepper(detector(), config(SCALING))
    for seed in range(3):
        losses = [step(batch(seed=seed), EPSILON).loss for step in (plain, scaled)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert scaled.scaling is not None and float(scaled.scaling.exponent.numpy()) == 4.75
    for name, value in plain.network.read().weights.items():
        assert_allclose(scaled.network.read().weights[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_lowers_the_exponent_and_changes_nothing_else(bad: float) -> None:
    scaling = CostScaling(SCALING)
    found = scaling.unscaled([tf.constant([16.0, 1.0]), None, tf.constant([[bad]])])
    assert_array_equal(found[0], [0, 0])
    assert found[1] is None
    assert_array_equal(found[2], [[0]])
    assert (scaling.exponent.numpy(), scaling.bad_steps.numpy()) == (3, 1)
    found = scaling.unscaled([tf.constant([16.0, 1.0])])
    assert_array_equal(found[0], [2, 0.125])
    assert (scaling.exponent.numpy(), scaling.bad_steps.numpy()) == (3.25, 1)


def test_an_exponent_that_is_too_large_comes_down_and_training_goes_on() -> None:
    """2^200 overflows; without cost scaling the same data train at once."""
    large = CostScalingConfig(enabled=True, initial_exponent=200, increment=1, decrement=180)
    step = stepper(detector(), config(large))
    before = step.network.read().weights
    assert np.isfinite(step(batch(), EPSILON).loss)
    kernels = [name for name in before if name.endswith("/kernel")]
    assert all((step.network.read().weights[name] == before[name]).all() for name in kernels)
    step(batch(), EPSILON)
    assert any((step.network.read().weights[name] != before[name]).any() for name in kernels)
    assert step.scaling is not None and step.scaling.bad_steps.numpy() == 1


def test_its_state_is_part_of_a_checkpoint() -> None:
    first, second = stepper(detector(), config(SCALING)), stepper(detector(), config(SCALING))
    for seed in range(2):
        first(batch(seed=seed), 1e-3)
    second.restore(first.state())
    assert second.scaling is not None and second.scaling.exponent.numpy() == 4.5
    assert "cost_scaling/exponent" not in stepper(detector(), config(None)).state()
