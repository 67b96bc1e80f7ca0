"""The training loop: epochs of steps, objective weights, checkpoints, validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from signal import SIGINT
from typing import Any

import numpy as np
import tensorflow as tf

from qatkit.choices import KEEP
from qatkit.console import info, track
from qatkit.errors import DivergedError, EnvironmentProblem, ModelError, StoppedError
from qatkit.keras.cost import updated_objective_weights
from qatkit.keras.step import Stepper
from qatkit.status import StatusLog
from qatkit.training import checkpoint
from qatkit.training.best import BestModel
from qatkit.training.checkpoint import Progress
from qatkit.training.epoch import EpochSums
from qatkit.training.overflow import why_the_loss, why_the_network
from qatkit.training.schedule import Schedule
from qatkit.training.stopping import Stop, StopAsked
from qatkit.training.watch.meter import Meter, clock, waits_for
from qatkit.training.watch.watch import Watch


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
    keep: how many checkpoints stay. classes: names, in the order of the costs.
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
    keep: int = KEEP
    classes: tuple[str, ...] = ()

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
        finite: Callable[[], bool] = lambda: True,
        stop: Stop | None = None,
        best: BestModel | None = None,
    ) -> None:
        """saves: whether this process writes checkpoints; of several that train together one does.

        finite: whether the network still holds only numbers. stop: tells when to end early; validate raises StopAsked
        then. best: keeps the model of the best validation.
        """
        self.plan = plan
        self.stepper = stepper
        self._schedule = schedule
        self._results = results
        self._status = status
        self._validate = validate
        self._saves = saves
        self._finite = finite
        self._stop = stop or Stop()
        self._best = best
        self._watch: Watch | None = None
        self._meter = Meter(plan.images_per_step)
        self._facts = ""
        self._step = 0
        self._epoch = EpochSums()
        self._validation_due = False  # the steps of an epoch are done, what comes after them is not

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
            if progress.partial:
                self._epoch.restore(progress.step % plan.steps_per_epoch, arrays)
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path}: made by another version of qatkit", hint="train with --restart") from error
        self._schedule.load_state_dict(extra)
        self._step, self._validation_due = progress.step, extra.get("validation_due", False)
        info(f"Resuming from {path} ({progress.done} of {plan.epochs}).")
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

    def fit(self, batches: Iterator[dict[str, tf.Tensor]], watch: Watch | None = None) -> Validation | None:
        """Train to the end. `batches` starts at the step after `resume()`. Returns the last validation.

        watch: is shown what happens.
        Raises DivergedError when the cost or the network is no longer a number (the last checkpoint stays), and
        StoppedError with a checkpoint of the last step where `stop` asked for it.
        """
        plan, result = self.plan, None
        self._watch = watch
        while self._validation_due or (self._step < plan.steps and not self._schedule.stopped):
            if not self._validation_due:
                self._train_epoch(self._step // plan.steps_per_epoch + 1, batches)
            epoch = self._step // plan.steps_per_epoch
            if self._validation_due:
                self._end_if_asked()
                result = self._validated(epoch)
            if epoch % plan.checkpoint_interval == 0 or epoch == plan.epochs or self._schedule.stopped:
                self._save()
            self._end_if_asked()
        return result

    def _train_epoch(self, epoch: int, batches: Iterator[dict[str, tf.Tensor]]) -> None:
        """The steps of an epoch that are left of it, and what comes after them but for the validation."""
        plan, started, first = self.plan, time.monotonic(), self._epoch.steps
        left = plan.steps_per_epoch - first
        steps = self._meter.epoch(islice(batches, left))
        for batch in track(steps, f"Epoch {epoch}/{plan.epochs}", left, lambda: self._facts):
            self._train_step(epoch, batch)
            if self._epoch.steps < plan.steps_per_epoch:
                self._end_if_asked()
        self._update_objective_weights()
        self._report_epoch(epoch, (time.monotonic() - started) / left)
        self._epoch = EpochSums()
        self._validation_due = plan.validates(epoch)

    def _train_step(self, epoch: int, batch: dict[str, tf.Tensor]) -> None:
        plan, step = self.plan, self._step
        rate = self._schedule.rate(step)
        result = self.stepper(batch, rate, moving=step < plan.frozen_from * plan.steps)
        if not math.isfinite(result.loss):
            why = why_the_loss(result, plan.classes, self.stepper.network.state())
            raise self._diverged(f"the loss of step {step} (epoch {epoch}) is {result.loss}: {why}")
        if not self._finite():
            why = why_the_network(self.stepper.network.state())
            raise self._diverged(f"after step {step} (epoch {epoch}), whose loss was {result.loss:.6g}, {why}")
        self._epoch.add(result)
        self._step += 1
        cov, bbox = result.components.sum(axis=0)
        speed = self._meter.facts(plan.steps - self._step)
        self._facts = f"loss {result.loss:.4g} (cov {cov:.4g}, bbox {bbox:.4g})" + (f", {speed}" if speed else "")
        if self._watch is not None:
            self._watch.stepped(self._step, plan.steps_per_epoch, result, rate)

    def _end_if_asked(self) -> None:
        """End with a checkpoint, of whatever step, where a signal asked for it."""
        number = self._stop.asked
        if not number:
            return
        word = "interrupted" if number == SIGINT else "terminated"
        try:
            path = self._save()
        except EnvironmentProblem as error:
            last = checkpoint.latest(self._results) if self._results.is_dir() else None
            raise StoppedError(number, f"{word}; {error}", hint=f"the last checkpoint is {last}") from error
        saved, there = (f", saved as {path}", " from there") if path else ("", "")
        hint = f"the same command, without --restart, goes on{there}"
        raise StoppedError(number, f"{word} after step {self._step} of {self.plan.steps}{saved}", hint=hint)

    def _validated(self, epoch: int) -> Validation:
        try:
            found = self._validate()
        except StopAsked:
            self._end_if_asked()
            raise
        result = self._report_validation(epoch, found)
        if self._best is not None:
            self._best.offer(epoch, result.map)
        self._validation_due = False
        return result

    def _update_objective_weights(self) -> None:
        config = self.stepper.cost_config
        if not config.autoweighting:
            return
        weights, sums = self.stepper.objective_weights, self._epoch.components.astype(np.float32)
        weights.assign(updated_objective_weights(config, sums, weights.numpy()))

    def _report_epoch(self, epoch: int, step_seconds: float) -> None:
        steps = self._epoch.steps
        loss = float(self._epoch.loss / steps)
        components = (self._epoch.components / steps).sum(axis=0)
        speed, seconds = self.plan.images_per_step / step_seconds, step_seconds * steps
        left = seconds * (self.plan.epochs - epoch)
        rate = self._schedule.rate(self._step - 1)  # of the epoch's last step
        info(
            f"Epoch {epoch}/{self.plan.epochs}: loss {loss:.6f} (cov {components[0]:.6f}, bbox {components[1]:.6f}), "
            f"learning rate {rate:.3g}, {speed:.1f} images/s, {waits_for(self._meter.input_share)}, ETA {clock(left)}"
        )
        self._running(
            epoch,
            time_per_epoch=clock(seconds),
            eta=clock(left),
            graphical={"loss": loss, "learning_rate": f"{rate:.6g}"},
            loss_parts={"cov": float(components[0]), "bbox": float(components[1])},
            images_per_second=round(speed, 2),
            waiting_for_input=round(self._meter.input_share, 4),
        )
        if self._watch is not None:
            share = self._meter.input_share
            self._watch.epoch_ended(epoch, self.plan.epochs, self._step, speed, share)

    def _report_validation(self, epoch: int, result: Validation) -> Validation:
        if not math.isfinite(result.cost):
            raise self._diverged(f"the validation cost after epoch {epoch} is {result.cost}")
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
        if self._watch is not None:
            self._watch.validated(self._step, result)
        return result

    def _running(self, epoch: int, **values: Any) -> None:
        self._status.write("RUNNING", epoch=epoch, max_epoch=self.plan.epochs, **values)

    def _save(self) -> Path | None:
        """Write a checkpoint of where the training stands; its path, None where another process writes."""
        plan = self.plan
        epoch, steps = divmod(self._step, plan.steps_per_epoch)
        arrays = {**self.stepper.network.state(), **self.stepper.state()}
        # What the optimizer holds is not looked at after each step.
        broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if broken:
            raise self._diverged(f"{broken[0].removeprefix('model/')} is not finite after epoch {epoch}")
        if not self._saves:
            return None
        if steps:
            arrays |= self._epoch.state()
        progress = Progress(plan.run, self._step, epoch, plan.training, plan.epochs, partial=steps > 0)
        extra = {**self._schedule.state_dict(), "validation_due": self._validation_due}
        return checkpoint.save_checkpoint(self._results, progress, arrays, extra, plan.keep)

    def _diverged(self, what: str) -> DivergedError:
        last = checkpoint.latest(self._results) if self._results.is_dir() else None
        kept = f"; {last} is from before" if last else ""
        return DivergedError(f"training diverged: {what}", hint=f"lower max_learning_rate{kept}")
