"""The order of events of a training, on a network that only counts its steps."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from qatkit.errors import DivergedError, ModelError, StoppedError, UsageError
from qatkit.keras.step import StepResult
from qatkit.status import StatusLog
from qatkit.training.loop import Plan, Trainer, Validation
from qatkit.training.schedule import EarlyStopping, SoftStartAnnealing
from qatkit.training.stopping import Stop
from tests.support.detector import COST

PLAN = Plan(
    run="run",
    epochs=6,
    steps_per_epoch=4,
    images_per_step=2,
    checkpoint_interval=2,
    first_validation=1,
    validation_period=2,
)
SCHEDULE = SoftStartAnnealing(1e-5, 1e-3, 0.25, 0.75, PLAN.steps)


class Counter:
    """Stands for a Stepper and its network: the weight is the number of steps taken."""

    def __init__(
        self, *, nan_loss_at: int = -1, nan_weight_at: int = -1, broken_cost: float = 1, autoweighting: bool = False
    ) -> None:
        self.cost_config = replace(COST, autoweighting=autoweighting)
        self.objective_weights = tf.Variable(COST.initial_weights)
        self.network = self
        self.rates: list[float] = []
        self.moving: list[bool] = []
        self.batches: list[int] = []
        self._weight = np.zeros(1, np.float32)
        self._nan_loss_at = nan_loss_at
        self._nan_weight_at = nan_weight_at
        self._broken_cost = broken_cost

    def __call__(self, batch: int, rate: float, *, moving: bool) -> StepResult:
        step = int(self._weight[0])
        self.rates.append(rate)
        self.moving.append(moving)
        self.batches.append(batch)
        self._weight = np.float32([math.nan if step == self._nan_weight_at else step + 1])
        loss = math.nan if step == self._nan_loss_at else 0.5
        factor = self._broken_cost if math.isnan(loss) else 1
        return StepResult(loss, np.float32([[1, 3], [2, 2 * factor]]) * (step + 1))

    def state(self) -> dict[str, NDArray[Any]]:
        return {"weight": self._weight, "objective_weights": self.objective_weights.numpy()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._weight = arrays["weight"]
        self.objective_weights.assign(arrays["objective_weights"])


def trainer(
    results: Path, stepper: Counter, validations: list[int] | None = None, plan: Plan = PLAN, **more: Any
) -> Trainer:
    """A trainer whose validations write down after how many steps they came."""

    def validate() -> Validation:
        if validations is not None:
            validations.append(len(stepper.batches))
        return Validation(50.0, {"person": 50.0, "bag": None}, 0.25)

    options = {"schedule": replace(SCHEDULE, steps=plan.steps), "validate": validate, **more}
    return Trainer(plan, stepper, results=results, status=StatusLog(results), **options)  # type: ignore[arg-type]


def fit(trained: Trainer) -> Validation | None:
    """Batches are the numbers of the steps they are for."""
    return trained.fit(itertools.count(trained.resume()))  # type: ignore[arg-type]


def checkpoints(results: Path) -> list[str]:
    return sorted(path.name for path in results.glob("*.ckpt"))


def events(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / "status.json").read_text().splitlines()]


def test_every_step_has_its_batch_and_its_rate(tmp_path: Path) -> None:
    stepper = Counter()
    assert fit(trainer(tmp_path, stepper)) == Validation(50.0, {"person": 50.0, "bag": None}, 0.25)
    assert stepper.batches == list(range(24))
    assert stepper.rates == [SCHEDULE.rate(step) for step in range(24)]
    assert all(stepper.moving)


@pytest.mark.parametrize(
    "first, period, after",
    [(1, 1, [1, 2, 3, 4, 5, 6]), (1, 2, [1, 3, 5, 6]), (4, 2, [4, 6]), (2, 10, [2, 6]), (9, 1, [6])],
)
def test_validation_epochs(tmp_path: Path, first: int, period: int, after: list[int]) -> None:
    validations: list[int] = []
    plan = replace(PLAN, first_validation=first, validation_period=period)
    fit(trainer(tmp_path, Counter(), validations, plan))
    assert [steps / PLAN.steps_per_epoch for steps in validations] == after


@pytest.mark.parametrize("interval, kept", [(1, [5, 6]), (2, [4, 6]), (4, [4, 6]), (10, [6])])
def test_checkpoints_come_at_intervals_and_at_the_end(tmp_path: Path, interval: int, kept: list[int]) -> None:
    fit(trainer(tmp_path, Counter(), plan=replace(PLAN, checkpoint_interval=interval)))
    assert checkpoints(tmp_path) == [f"model.epoch-{epoch}.ckpt" for epoch in kept]


@pytest.mark.parametrize("fraction, frozen_from", [(0.0, 0), (0.5, 12), (0.7, 17), (1.0, 24)])
def test_statistics_are_frozen_for_the_last_part(tmp_path: Path, fraction: float, frozen_from: int) -> None:
    stepper = Counter()
    fit(trainer(tmp_path, stepper, plan=replace(PLAN, frozen_from=fraction)))
    assert stepper.moving == [step < frozen_from for step in range(24)]


def test_objective_weights_follow_the_costs_of_each_epoch(tmp_path: Path) -> None:
    stepper = Counter(autoweighting=True)
    fit(trainer(tmp_path, stepper))
    # The targets are equal, so the weights are as 1/cost: 1:3 of class one, 1:1 of class two.
    assert_allclose(stepper.objective_weights.numpy(), [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6)


def test_objective_weights_stay_without_autoweighting(tmp_path: Path) -> None:
    stepper = Counter()
    fit(trainer(tmp_path, stepper))
    assert_allclose(stepper.objective_weights.numpy(), COST.initial_weights)


class Killed(BaseException):
    """What a signal handler raises."""


def stopping_after(step: int, first: int = 0) -> Any:
    """Batches from `first` on, until a signal comes before step `step`."""
    yield from range(first, step)
    raise Killed


@pytest.mark.parametrize("stop_after", [1, 8, 9, 15, 23])
def test_a_run_that_was_stopped_goes_on_from_its_last_checkpoint(tmp_path: Path, stop_after: int) -> None:
    first, second = Counter(autoweighting=True), Counter(autoweighting=True)

    with pytest.raises(Killed):
        trainer(tmp_path, first).fit(stopping_after(stop_after))
    fit(trainer(tmp_path, second))
    saved = stop_after // 8 * 8  # a checkpoint every second epoch of four steps
    assert second.batches == list(range(saved, 24))
    assert second.rates == [SCHEDULE.rate(step) for step in range(saved, 24)]


class AskedAt(Stop):
    """A signal that comes while a step runs (the number of steps before it), or a validation (its epoch)."""

    def __init__(self, *, step: int = -1, validation: int = -1) -> None:
        super().__init__()
        self._step, self._validation = step, validation
        self._validated = 0

    def batches(self, first: int) -> Iterator[int]:
        for number in itertools.count(first):
            self.asked = self.asked or signal.SIGTERM * (number == self._step)
            yield number

    def validate(self) -> Validation:
        self._validated += 1
        self.asked = self.asked or signal.SIGTERM * (self._validated == self._validation)
        self.check()
        return Validation(50.0, {"person": 50.0, "bag": None}, 0.25)


def fit_until_asked(results: Path, stop: AskedAt, plan: Plan, **more: Any) -> StoppedError:
    trained = trainer(results, Counter(autoweighting=True), plan=plan, stop=stop, validate=stop.validate, **more)
    with pytest.raises(StoppedError) as caught:
        trained.fit(stop.batches(trained.resume()))  # type: ignore[arg-type]
    return caught.value


EVERY_STEP = [(step, f"model.epoch-{step // 4}{f'.step-{step}' if step % 4 else ''}.ckpt") for step in range(1, 25)]


@pytest.mark.parametrize("done, name", EVERY_STEP)
def test_a_run_that_is_asked_to_stop_goes_on_with_the_next_step(tmp_path: Path, done: int, name: str) -> None:
    """Whatever step it was: loss, costs of the epoch, validations and rates are those of a run in one piece."""
    plan = replace(PLAN, checkpoint_interval=10)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    straight, second = Counter(autoweighting=True), Counter(autoweighting=True)
    fit(trainer(whole, straight, plan=plan))
    error = fit_until_asked(stopped, AskedAt(step=done - 1), plan)
    assert (error.exit_code, checkpoints(stopped)) == (143, [name])
    assert str(error) == (
        f"terminated after step {done} of 24, saved as {stopped / name} "
        "(the same command, without --restart, goes on from there)"
    )
    fit(trainer(stopped, second, plan=plan))
    assert second.batches == list(range(done, 24))
    assert second.rates == straight.rates[done:]
    for key, array in straight.state().items():
        assert_array_equal(second.state()[key], array)
    assert [event["kpi"] for event in events(stopped) if "kpi" in event] == [
        event["kpi"] for event in events(whole) if "kpi" in event
    ]
    assert [event["graphical"] for event in events(stopped) if "graphical" in event] == [
        event["graphical"] for event in events(whole) if "graphical" in event
    ]


@pytest.mark.parametrize("validation, epoch", [(1, 1), (2, 3), (4, 6)])
def test_a_validation_that_was_stopped_is_made_again(tmp_path: Path, validation: int, epoch: int) -> None:
    error = fit_until_asked(tmp_path, AskedAt(validation=validation), PLAN)
    assert f"after step {4 * epoch} of 24, saved as {tmp_path}/model.epoch-{epoch}.ckpt" in str(error)
    second, validations = Counter(autoweighting=True), list[int]()
    assert fit(trainer(tmp_path, second, validations)) is not None
    assert second.batches == list(range(4 * epoch, 24))
    assert [number // 4 + epoch for number in validations] == [number for number in (1, 3, 5, 6) if number >= epoch]


def test_early_stopping_has_each_validation_once(tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=50, validation_period=1, checkpoint_interval=10)
    fit_until_asked(tmp_path, AskedAt(validation=2), plan, schedule=early_stopping())
    fit_until_asked(tmp_path, AskedAt(step=13), plan, schedule=early_stopping())
    stepper = Counter()
    fit(trainer(tmp_path, stepper, schedule=early_stopping(), plan=plan))
    assert stepper.batches == [14, 15]  # as in a run in one piece


def test_the_signal_is_told_from_the_other(tmp_path: Path) -> None:
    stop = AskedAt()
    stop.asked = signal.SIGINT
    error = fit_until_asked(tmp_path, stop, PLAN)
    assert (error.exit_code, str(error).partition(" after")[0]) == (130, "interrupted")


def test_a_checkpoint_that_cannot_be_written_is_told_with_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_until_asked(tmp_path, AskedAt(step=2), PLAN)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    error = fit_until_asked(tmp_path, AskedAt(step=5), PLAN)
    assert error.exit_code == 143
    assert str(error) == (
        f"terminated; {tmp_path}/model.epoch-1.step-6.ckpt: cannot write: No space left on device "
        f"(the last checkpoint is {tmp_path}/model.epoch-0.step-3.ckpt)"
    )
    assert checkpoints(tmp_path) == ["model.epoch-0.step-3.ckpt"]


def test_a_run_that_does_not_save_names_no_file(tmp_path: Path) -> None:
    """One of several that train together."""
    error = fit_until_asked(tmp_path, AskedAt(step=2), PLAN, saves=False)
    assert str(error) == "terminated after step 3 of 24 (the same command, without --restart, goes on)"
    assert checkpoints(tmp_path) == []


def test_a_training_that_was_stopped_within_an_epoch_is_extended(tmp_path: Path) -> None:
    fit_until_asked(tmp_path, AskedAt(step=13), SHORT)
    stepper = Counter()
    fit_extended(trainer(tmp_path, stepper, plan=LONG))
    assert stepper.batches == list(range(14, 36))


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_checkpoints_stay_as_wanted(tmp_path: Path, keep: int) -> None:
    fit(trainer(tmp_path, Counter(), plan=replace(PLAN, checkpoint_interval=1, keep=keep)))
    assert checkpoints(tmp_path) == [f"model.epoch-{epoch}.ckpt" for epoch in range(7 - keep, 7)]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    fit(trainer(tmp_path, Counter()))
    again, validations = Counter(), []
    assert fit(trainer(tmp_path, again, validations)) is None
    assert (again.batches, validations) == ([], [])
    assert again.state()["weight"] == 24


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    fit(trainer(tmp_path, Counter()))
    with pytest.raises(UsageError, match="another spec"):
        trainer(tmp_path, Counter(), plan=replace(PLAN, run="other")).resume()


SHORT = replace(PLAN, run="short", training="training", checkpoint_interval=1, frozen_from=0.5)
LONG = replace(SHORT, run="long", epochs=9)


def fit_extended(trained: Trainer) -> Validation | None:
    return trained.fit(itertools.count(trained.resume(extend=True)))  # type: ignore[arg-type]


@pytest.mark.parametrize("done", [3, 6])
def test_a_training_is_extended_with_the_rates_of_the_longer_one(
    tmp_path: Path, done: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it had ended or not."""
    step = done * PLAN.steps_per_epoch
    with contextlib.suppress(Killed):
        trainer(tmp_path, Counter(), plan=SHORT).fit(stopping_after(step))
    capsys.readouterr()
    stepper, long = Counter(), replace(SCHEDULE, steps=36)
    fit_extended(trainer(tmp_path, stepper, plan=LONG))
    assert stepper.batches == list(range(step, 36))
    assert stepper.rates == [long.rate(number) for number in range(step, 36)]
    assert stepper.moving == [number < 18 for number in range(step, 36)]
    assert stepper.state()["weight"] == 36
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Extended")]
    assert told == [
        f"Extended from 6 to 9 epochs: at step {step} the learning rate was {SCHEDULE.rate(step):.3g} and is "
        f"{long.rate(step):.3g}, ranges and batch-norm statistics move up to step 18; the result is not that of a "
        "training planned for 9 from the start."
    ]


def test_without_being_told_a_training_is_not_extended(tmp_path: Path) -> None:
    fit(trainer(tmp_path, Counter(), plan=SHORT))
    with pytest.raises(UsageError, match="planned for 6 epochs, the spec now has 9"):
        trainer(tmp_path, Counter(), plan=LONG).resume()


@pytest.mark.parametrize("stop_after", [25, 27, 28, 31])
def test_an_extension_that_was_stopped_goes_on(tmp_path: Path, stop_after: int) -> None:
    """From its own first checkpoint on without being told; before that as it began."""
    fit(trainer(tmp_path, Counter(), plan=SHORT))
    with pytest.raises(Killed):
        extension = trainer(tmp_path, Counter(), plan=LONG)
        extension.resume(extend=True)
        extension.fit(stopping_after(stop_after, 24))
    stepper, saved = Counter(), stop_after // 4 * 4
    if saved == 24:
        with pytest.raises(UsageError, match="--extend goes on to 9"):
            trainer(tmp_path, Counter(), plan=LONG).resume()
    (fit_extended if saved == 24 else fit)(trainer(tmp_path, stepper, plan=LONG))
    assert stepper.batches == list(range(saved, 36))


def test_an_extension_that_was_extended_already_only_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(trainer(tmp_path, Counter(), plan=SHORT))
    fit_extended(trainer(tmp_path, Counter(), plan=LONG))
    capsys.readouterr()
    again = Counter()
    assert fit_extended(trainer(tmp_path, again, plan=LONG)) is None
    assert again.batches == []
    assert "Extended" not in capsys.readouterr().out


def test_without_a_checkpoint_an_extension_begins_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stepper = Counter()
    fit_extended(trainer(tmp_path, stepper, plan=LONG))
    assert stepper.batches == list(range(36))
    assert "holds no checkpoint, so training begins at the start" in capsys.readouterr().out


def test_a_checkpoint_with_other_arrays_is_refused(tmp_path: Path) -> None:
    fit(trainer(tmp_path, Counter()))
    stepper = Counter()
    stepper.objective_weights = tf.Variable(np.zeros((3, 2), np.float32))
    with pytest.raises(ModelError, match="another version"):
        trainer(tmp_path, stepper).resume()


@pytest.mark.parametrize("step, kept", [(0, []), (7, []), (10, [2]), (19, [2, 4])])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, step: int, kept: list[int]) -> None:
    stepper = Counter(nan_loss_at=step)
    with pytest.raises(DivergedError, match=rf"loss of step {step} \(epoch {step // 4 + 1}\) is nan") as caught:
        fit(trainer(tmp_path, stepper))
    assert caught.value.exit_code == 6
    assert len(stepper.batches) == step + 1
    assert checkpoints(tmp_path) == [f"model.epoch-{epoch}.ckpt" for epoch in kept]


def test_the_part_of_the_loss_is_named(tmp_path: Path) -> None:
    stepper = Counter(nan_loss_at=5, broken_cost=math.inf)
    plan = replace(PLAN, classes=("person", "bag"))
    with pytest.raises(DivergedError, match=r"\(epoch 2\) is nan: the bbox cost of bag is inf \(lower max_learning"):
        fit(trainer(tmp_path, stepper, plan=plan))


def test_a_network_that_holds_no_numbers_stops_the_run_within_the_step(tmp_path: Path) -> None:
    """Though the loss was one."""
    stepper = Counter(nan_weight_at=13)
    watch = {"finite": lambda: bool(np.isfinite(stepper.state()["weight"]).all())}
    message = r"after step 13 \(epoch 4\), whose loss was 0\.5, weight is not finite"
    with pytest.raises(DivergedError, match=message):
        fit(trainer(tmp_path, stepper, **watch))
    assert len(stepper.batches) == 14
    assert checkpoints(tmp_path) == ["model.epoch-2.ckpt"]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    """The loss of an epoch's last step may still be a number when its update is not."""
    with pytest.raises(DivergedError, match="weight is not finite after epoch 4"):
        fit(trainer(tmp_path, Counter(nan_weight_at=15)))
    assert checkpoints(tmp_path) == ["model.epoch-2.ckpt"]


def test_a_validation_cost_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="validation cost after epoch 1 is nan"):
        fit(trainer(tmp_path, Counter(), validate=lambda: Validation(0.0, {}, math.nan)))
    assert "NaN" not in (tmp_path / "status.json").read_text()


def test_status_lines(tmp_path: Path) -> None:
    fit(trainer(tmp_path, Counter(), plan=replace(PLAN, epochs=2)))
    found = events(tmp_path)
    assert [(event["status"], event["epoch"], event["max_epoch"]) for event in found] == [
        *[("RUNNING", 1, 2)] * 2,
        *[("RUNNING", 2, 2)] * 2,
    ]
    assert found[0]["graphical"] == {"loss": 0.5, "learning_rate": f"{SCHEDULE.at(3 / 8):.6g}"}
    assert found[0].keys() >= {"time_per_epoch", "eta"}
    assert found[1]["kpi"] == {"validation cost": 0.25, "mean average precision": 50.0}
    assert found[1]["categorical"] == {"average_precision": {"person": 50.0, "bag": None}}


class Shown:
    """Stands for a Watch: the calls in their order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def stepped(self, step: int, steps_per_epoch: int, result: StepResult, rate: float) -> None:
        self.calls.append(("step", step, steps_per_epoch, result.loss, rate))

    def epoch_ended(self, epoch: int, last: int, step: int, speed: float, input_share: float) -> None:
        assert speed > 0 and 0 <= input_share <= 1
        self.calls.append(("epoch", epoch, last, step))

    def validated(self, step: int, result: Validation) -> None:
        self.calls.append(("validation", step, result.map))


def test_what_a_watch_is_shown(tmp_path: Path) -> None:
    """Of a run that goes on from its last checkpoint, only what is new."""
    plan = replace(PLAN, epochs=3, checkpoint_interval=1)
    with pytest.raises(Killed):
        trainer(tmp_path, Counter(), plan=plan).fit(stopping_after(5))
    shown, trained = Shown(), trainer(tmp_path, Counter(), plan=plan)
    trained.fit(itertools.count(trained.resume()), shown)  # type: ignore[arg-type]
    schedule = replace(SCHEDULE, steps=12)
    steps = [("step", step + 1, 4, 0.5, schedule.rate(step)) for step in range(4, 12)]
    ended = [("epoch", 2, 3, 8), ("epoch", 3, 3, 12), ("validation", 12, 50.0)]
    assert shown.calls == [*steps[:4], ended[0], *steps[4:], *ended[1:]]


def early_stopping() -> EarlyStopping:
    return EarlyStopping(1e-5, 1e-3, 0, 1, patience_epochs=1, steps_per_epoch=4)


def test_early_stopping_ends_the_run(tmp_path: Path) -> None:
    """The cost never falls: annealing begins after the second validation; the second one after it has more steps."""
    stepper = Counter()
    fit(trainer(tmp_path, stepper, schedule=early_stopping(), plan=replace(PLAN, epochs=50, validation_period=1)))
    assert len(stepper.batches) == 16
    assert stepper.rates[:8] == pytest.approx([1e-3] * 8)
    assert stepper.rates[8:] == pytest.approx([1e-3, 10**-3.5, 1e-4, 10**-4.5, *[1e-5] * 4])
    assert checkpoints(tmp_path)[-1] == "model.epoch-4.ckpt"


def test_early_stopping_is_resumed(tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=50, validation_period=1, checkpoint_interval=1)

    with pytest.raises(Killed):
        trainer(tmp_path, Counter(), schedule=early_stopping(), plan=plan).fit(stopping_after(10))
    stepper = Counter()
    fit(trainer(tmp_path, stepper, schedule=early_stopping(), plan=plan))
    assert stepper.batches == [*range(8, 16)]
    assert stepper.rates == pytest.approx([1e-3, 10**-3.5, 1e-4, 10**-4.5, *[1e-5] * 4])
    again = Counter()
    assert fit(trainer(tmp_path, again, schedule=early_stopping(), plan=plan)) is None
    assert again.batches == []


def test_early_stopping_is_extended_with_its_state(tmp_path: Path) -> None:
    """Annealing, which began in the shorter training, goes on; its rates know no length."""
    short = replace(SHORT, epochs=2, validation_period=1)
    first, second = Counter(), Counter()
    fit(trainer(tmp_path, first, schedule=early_stopping(), plan=short))
    fit_extended(trainer(tmp_path, second, schedule=early_stopping(), plan=replace(short, run="long", epochs=50)))
    assert first.rates + second.rates == pytest.approx([1e-3] * 8 + [1e-3, 10**-3.5, 1e-4, 10**-4.5, *[1e-5] * 4])


def test_early_stopping_that_has_ended_a_training_is_not_extended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = replace(SHORT, validation_period=1)
    fit(trainer(tmp_path, Counter(), schedule=early_stopping(), plan=plan))
    stepper = Counter()
    fit_extended(trainer(tmp_path, stepper, schedule=early_stopping(), plan=replace(plan, run="long", epochs=50)))
    assert stepper.batches == []
    assert "Early stopping has ended this training: more epochs change nothing." in capsys.readouterr().out
