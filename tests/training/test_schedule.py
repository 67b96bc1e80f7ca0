"""Learning-rate schedules against the reference vectors (tolerance 1e-6 relative: float32 exp and log there)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qatkit.training.schedule import EarlyStopping, SoftStartAnnealing
from tests.support import golden_data

TOPIC = "01_lr_schedule"


def soft_start(case: dict[str, Any]) -> SoftStartAnnealing:
    return SoftStartAnnealing(
        case["min_learning_rate"], case["max_learning_rate"], case["soft_start"], case["annealing"]
    )


@golden_data.parametrize(TOPIC, "progress_")
def test_rate_by_progress(case: dict[str, Any]) -> None:
    progress = golden_data.array(TOPIC, case, "progress").astype(np.float64)
    rates = [soft_start(case).at(value) for value in progress]
    np.testing.assert_allclose(rates, golden_data.array(TOPIC, case, "learning_rate"), rtol=5e-6)


@golden_data.parametrize(TOPIC, "step_")
def test_rate_by_step(case: dict[str, Any]) -> None:
    steps = golden_data.array(TOPIC, case, "global_step")
    rates = [replace(soft_start(case), steps=case["max_steps"]).rate(int(step)) for step in steps]
    # Progress is float32 there: near the ends of a ramp its rounding shows in the rate.
    np.testing.assert_allclose(rates, golden_data.array(TOPIC, case, "learning_rate"), rtol=5e-6)


@golden_data.parametrize(TOPIC, "early_fn_")
def test_early_stopping_rate(case: dict[str, Any]) -> None:
    schedule = EarlyStopping(
        case["min_learning_rate"],
        case["max_learning_rate"],
        case["soft_start_steps"],
        case["annealing_steps"],
        patience_epochs=1,
        steps_per_epoch=1,
    )
    for annealing, name in ((False, "learning_rate_before_annealing"), (True, "learning_rate_in_annealing")):
        schedule.annealing = annealing
        rates = [schedule.rate(int(step)) for step in golden_data.array(TOPIC, case, "lr_step")]
        np.testing.assert_allclose(rates, golden_data.array(TOPIC, case, name), rtol=5e-6)


@golden_data.parametrize(TOPIC, "early_run_")
def test_early_stopping_run(case: dict[str, Any]) -> None:
    per_epoch, every = case["steps_per_epoch"], case["num_validation_steps"]
    costs = golden_data.array(TOPIC, case, "validation_step_costs").reshape(-1, every).mean(axis=1)
    schedule = EarlyStopping(
        case["min_learning_rate"],
        case["max_learning_rate"],
        case["soft_start_epochs"],
        case["annealing_epochs"],
        case["patience_steps"],
        per_epoch,
    )
    rates, phases, validations, step = [], [], 0, 0
    while step < case["last_epoch"] * per_epoch and not schedule.stopped:
        rates.append(schedule.rate(step))
        phases.append(schedule.annealing)
        step += 1
        # The original validates when one step of the epoch is still to come; qatkit's loop at the epoch's end.
        epoch, rest = divmod(step + 1, per_epoch)
        since = epoch - case["first_validation_epoch"]
        if rest == 0 and (epoch == case["last_epoch"] or (since >= 0 and since % case["validation_period"] == 0)):
            schedule.observe(float(costs[validations]), epoch, step)
            validations += 1
    assert step == case["steps_run"]
    assert schedule.stopped == case["stopped_early"]
    np.testing.assert_array_equal(phases, golden_data.array(TOPIC, case, "in_annealing").astype(bool))
    np.testing.assert_allclose(rates, golden_data.array(TOPIC, case, "learning_rate"), rtol=5e-6)


@pytest.mark.parametrize(
    "per_epoch, annealing_epochs, patience, steps",
    [
        # Costs never improve on the first one: annealing starts after 1 + patience epochs.
        (10, 0.0, 1, 30),  # no annealing: the next validation ends the run
        (10, 1.0, 1, 40),  # after one epoch 10 steps of 10 are made, which is not more
        (10, 2.0, 1, 50),
        (10, 2.0, 2, 60),  # annealing from 30 on; patience is over after 50, with 20 of 20 steps
        (10, 0.95, 1, 30),  # 10 steps are more than 9
        (10, 1.05, 1, 40),  # 10 steps are not more than 10
        (7, 0.5, 1, 21),  # 7 more than int(3.5)
        (7, 2.2, 1, 35),  # 14 are not more than int(15.4), 21 are
        (3, 1.3, 1, 12),  # 3 are not more than int(3.9), 6 are
        (1, 1.9, 1, 4),  # 1 is not more than int(1.9), 2 are: int, else 3 epochs would be needed for 2.0
        (1, 2.0, 1, 5),
    ],
)
def test_a_run_ends_with_more_steps_than_annealing_takes(
    per_epoch: int, annealing_epochs: float, patience: int, steps: int
) -> None:
    schedule = EarlyStopping(1e-5, 1e-3, 0.0, annealing_epochs, patience, per_epoch)
    epoch = 0
    while not schedule.stopped and epoch < 20:
        epoch += 1
        schedule.observe(1.0, epoch, epoch * per_epoch)
    assert epoch * per_epoch == steps


@pytest.mark.parametrize(
    "progress, rate", [(0.0, 5e-6), (0.05, 5e-5), (0.1, 5e-4), (0.7, 5e-4), (0.85, 5e-5), (1.0, 5e-6)]
)
def test_rate_by_hand(progress: float, rate: float) -> None:
    assert SoftStartAnnealing(5e-6, 5e-4, 0.1, 0.7).at(progress) == pytest.approx(rate)


@pytest.mark.parametrize("progress", [-0.01, 1.01])
def test_progress_outside_the_training_is_refused(progress: float) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        SoftStartAnnealing(5e-6, 5e-4, 0.1, 0.7).at(progress)
