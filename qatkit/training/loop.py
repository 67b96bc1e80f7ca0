"""The training loop: epochs of steps, objective weights, checkpoints, validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from qatkit.console import info, track
from qatkit.errors import DivergedError, ModelError
from qatkit.keras.cost import updated_objective_weights
from qatkit.keras.step import Stepper, StepResult
from qatkit.status import StatusLog
from qatkit.training import checkpoint
from qatkit.training.checkpoint import Progress
from qatkit.training.schedule import Schedule


@dataclass(frozen=True)
class Validation:
    """What a validation reports.

    map, ap: percent; a class without ground truth has None. cost: the task cost, without regularization.
    """

    map: float
    ap: Mapping[str, float | None]
    cost: float


@dataclass(frozen=True)
class Plan:
    """The shape of a run.

    run, training: by what its checkpoints are known again, with and without the number of epochs (`Progress`).
    frozen_from: fraction of the training after which batch-norm statistics and ranges are frozen (1 = never).
    """

    run: str
    epochs: int
    steps_per_epoch: int
    images_per_step: int
    checkpoint_interval: int
    first_validation: int
    validation_period: int
    frozen_from: float = 1.0
    training: str = ""

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def validates(self, epoch: int) -> bool:
        """Whether there is a validation after `epoch` epochs: by the spec's period, and always at the end."""
        since = epoch - self.first_validation
        return epoch == self.epochs or (since >= 0 and since % self.validation_period == 0)


class Trainer:
    """Runs a `Plan`: call `fit()` once."""

    def __init__(
        self,
        plan: Plan,
        stepper: Stepper,
        schedule: Schedule,
        results: Path,
        status: StatusLog,
        validate: Callable[[], Validation],
        *,
        saves: bool = True,
    ) -> None:
        """saves: whether this process writes checkpoints; of several that train together one does."""
        self.plan = plan
        self.stepper = stepper
        self._schedule = schedule
        self._results = results
        self._status = status
        self._validate = validate
        self._saves = saves
        self._step = 0

    def resume(self, *, extend: bool = False) -> int:
        """Continue from the newest checkpoint in the results folder; return the number of steps already done.

        extend: also from one of the same training that was planned for another number of epochs. Rates, and when
        statistics are frozen, are those of the new number from there on.
        """
        plan, path = self.plan, checkpoint.latest(self._results)
        if path is None:
            if extend:
                info(f"--extend: {self._results} holds no checkpoint, so training begins at the start.")
            return 0
        progress, arrays, extra = checkpoint.load_checkpoint(
            path, plan.run, training=plan.training, epochs=plan.epochs, extend=extend
        )
        try:
            self.stepper.restore(arrays)
            self.stepper.network.restore(arrays)
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path}: made by another version of qatkit", hint="train with --restart") from error
        self._schedule.load_state_dict(extra)
        self._step = progress.step
        info(f"Resuming from {path} (epoch {progress.epoch} of {plan.epochs}).")
        if progress.run != plan.run:
            self._tell_extension(progress)
        return self._step

    def _tell_extension(self, former: Progress) -> None:
        """Say where the schedule of the new length stands, and that the way there was another one."""
        plan, step = self.plan, former.step
        if self._schedule.stopped:
            info("Early stopping has ended this training: more epochs change nothing.")
            return
        was, now = (
            self._schedule.of_length(epochs * plan.steps_per_epoch).rate(step)
            for epochs in (former.epochs, plan.epochs)
        )
        first_frozen = math.ceil(plan.frozen_from * plan.steps)
        frozen = f", ranges and batch-norm statistics move up to step {first_frozen}" if plan.frozen_from < 1 else ""
        info(
            f"Extended from {former.epochs} to {plan.epochs} epochs: at step {step} the learning rate was {was:.3g} "
            f"and is {now:.3g}{frozen}; "
            f"the result is not that of a training planned for {plan.epochs} from the start."
        )

    def fit(self, batches: Iterator[dict[str, tf.Tensor]]) -> Validation | None:
        """Train to the end. `batches` starts at the step after `resume()`. Returns the last validation.

        Raises DivergedError when the cost is no longer a number; the last checkpoint stays.
        """
        plan, result = self.plan, None
        while self._step < plan.steps and not self._schedule.stopped:
            epoch = self._step // plan.steps_per_epoch + 1
            self._train_epoch(epoch, batches)
            if plan.validates(epoch):
                result = self._report_validation(epoch, self._validate())
            if epoch % plan.checkpoint_interval == 0 or epoch == plan.epochs or self._schedule.stopped:
                self._save(epoch)
        return result

    def _train_epoch(self, epoch: int, batches: Iterator[dict[str, tf.Tensor]]) -> None:
        plan, started = self.plan, time.monotonic()
        results: list[StepResult] = []
        steps = islice(batches, plan.steps_per_epoch)
        for batch in track(steps, f"Epoch {epoch}/{plan.epochs}", plan.steps_per_epoch):
            moving = self._step < plan.frozen_from * plan.steps
            results.append(self.stepper(batch, self._schedule.rate(self._step), moving=moving))
            if not math.isfinite(results[-1].loss):
                raise _diverged(f"the loss of step {self._step} (epoch {epoch}) is {results[-1].loss}")
            self._step += 1
        self._update_objective_weights(results)
        self._report_epoch(epoch, results, time.monotonic() - started)

    def _update_objective_weights(self, results: list[StepResult]) -> None:
        config = self.stepper.cost_config
        if not config.autoweighting:
            return
        sums = np.asarray([result.components for result in results]).sum(axis=0)
        weights = self.stepper.objective_weights
        weights.assign(updated_objective_weights(config, sums, weights.numpy()))

    def _report_epoch(self, epoch: int, results: list[StepResult], seconds: float) -> None:
        loss = float(np.mean([result.loss for result in results]))
        components = np.mean([result.components for result in results], axis=0).sum(axis=0)
        speed = len(results) * self.plan.images_per_step / seconds
        left = seconds * (self.plan.epochs - epoch)
        rate = self._schedule.rate(self._step - 1)  # of the epoch's last step
        info(
            f"Epoch {epoch}/{self.plan.epochs}: loss {loss:.6f} (cov {components[0]:.6f}, bbox {components[1]:.6f}), "
            f"learning rate {rate:.3g}, {speed:.1f} images/s, ETA {_clock(left)}"
        )
        self._running(
            epoch,
            time_per_epoch=_clock(seconds),
            eta=_clock(left),
            graphical={"loss": loss, "learning_rate": f"{rate:.6g}"},
        )

    def _report_validation(self, epoch: int, result: Validation) -> Validation:
        if not math.isfinite(result.cost):
            raise _diverged(f"the validation cost after epoch {epoch} is {result.cost}")
        self._schedule.observe(result.cost, epoch, self._step)
        listed = ", ".join(
            f"{name} {'n/a' if value is None else f'{value:.2f}'}" for name, value in result.ap.items()
        )
        info(f"Validation after epoch {epoch}: mAP {result.map:.2f} ({listed}), cost {result.cost:.6f}")
        self._running(
            epoch,
            kpi={"validation cost": round(result.cost, 8), "mean average precision": round(result.map, 4)},
            categorical={"average_precision": dict(result.ap)},
        )
        return result

    def _running(self, epoch: int, **values: Any) -> None:
        self._status.write("RUNNING", epoch=epoch, max_epoch=self.plan.epochs, **values)

    def _save(self, epoch: int) -> None:
        arrays = {**self.stepper.network.state(), **self.stepper.state()}
        # The last update may have gone wrong after a loss that was still a number.
        broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if broken:
            raise _diverged(f"{broken[0]} is not finite after epoch {epoch}")
        if self._saves:
            progress = Progress(self.plan.run, self._step, epoch, self.plan.training, self.plan.epochs)
            checkpoint.save_checkpoint(self._results, progress, arrays, self._schedule.state_dict())


def _diverged(what: str) -> DivergedError:
    return DivergedError(
        f"training diverged: {what}", hint="lower max_learning_rate; the checkpoint before it was kept"
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
