"""Learning-rate schedules: soft start with annealing, and the early-stopping state machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from qatkit.spec import LearningRateConfig


class Schedule:
    """What the loop asks: the rate of each step, and whether to go on after what it observed.

    state_dict, load_state_dict: its part of a checkpoint's extra values. What validation finds changes nothing here,
    and there is no state; a schedule that decides by it says otherwise.
    """

    stopped: bool = False

    def rate(self, step: int) -> float:
        """The rate of training step `step` (0-based)."""
        raise NotImplementedError

    def observe(self, cost: float, epoch: int, step: int) -> None:
        """Take in the validation cost after `epoch` epochs (1-based count) and `step` steps."""

    def of_length(self, steps: int) -> Schedule:
        """The same for a training of `steps`; itself where its rates do not depend on the length."""
        return self

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


def _between(low: float, high: float, t: float) -> float:
    """From `low` (t = 0) to `high` (t = 1), a straight line on the log scale."""
    return math.exp(math.log(low) + t * (math.log(high) - math.log(low)))


@dataclass(frozen=True)
class SoftStartAnnealing(Schedule):
    """Rises to `maximum` until `soft_start`, stays, falls back to `minimum` from `annealing` on.

    soft_start, annealing: fractions of the training of `steps`, 0..1 (reference: TAO's
    soft_start_annealing_schedule).
    """

    minimum: float
    maximum: float
    soft_start: float
    annealing: float
    steps: int = 1

    def rate(self, step: int) -> float:
        return self.at(step / self.steps)

    def of_length(self, steps: int) -> SoftStartAnnealing:
        return replace(self, steps=steps)

    def at(self, progress: float) -> float:
        """The rate at `progress` 0..1 of the training."""
        if not 0.0 <= progress <= 1.0:
            raise ValueError(f"progress must lie in 0..1, got {progress}")
        t = 1.0
        if progress < self.soft_start:
            t = progress / self.soft_start
        elif progress > self.annealing and self.annealing < 1.0:
            t = (1.0 - progress) / (1.0 - self.annealing)
        return _between(self.minimum, self.maximum, t)


@dataclass
class EarlyStopping(Schedule):
    """Soft start, then the maximum until validation stalls, then annealing, then a stop when it stalls again.

    State besides the configuration: the phase, the step it began, and the best validation cost with its epoch.
    """

    minimum: float
    maximum: float
    soft_start_epochs: float
    annealing_epochs: float
    patience_epochs: int
    steps_per_epoch: int
    annealing: bool = False
    stopped: bool = False
    phase_start: int = 0
    best_cost: float = math.inf
    best_epoch: int = 0

    def rate(self, step: int) -> float:
        length = self._length(self.annealing_epochs if self.annealing else self.soft_start_epochs)
        done = (step - self.phase_start) / length if length > 0 else (0.0 if self.annealing else 1.0)
        t = max(1.0 - done, 0.0) if self.annealing else min(done, 1.0)
        return _between(self.minimum, self.maximum, t)

    def _length(self, epochs: float) -> int:
        """Whole steps, cut off as TAO does."""
        return int(epochs * self.steps_per_epoch)

    def observe(self, cost: float, epoch: int, step: int) -> None:
        """As in TAO, a run goes on when exactly as many steps as annealing takes were made in it."""
        if cost < self.best_cost:
            self.best_cost, self.best_epoch = cost, epoch
            return
        if epoch - self.best_epoch < self.patience_epochs:
            return
        if not self.annealing:
            self.annealing, self.phase_start = True, step
            self.best_cost, self.best_epoch = cost, epoch
        elif step - self.phase_start > self._length(self.annealing_epochs):
            self.stopped = True

    def state_dict(self) -> dict[str, Any]:
        return {"early_stopping": asdict(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state["early_stopping"])


def from_spec(config: LearningRateConfig, epochs: int, steps_per_epoch: int) -> Schedule:
    """The schedule of a spec (the spec loader has checked the values)."""
    if config.WhichOneof("learning_rate") == "early_stopping_annealing_schedule":
        early = config.early_stopping_annealing_schedule
        return EarlyStopping(
            early.min_learning_rate,
            early.max_learning_rate,
            early.soft_start_epochs,
            early.annealing_epochs,
            early.patience_steps,
            steps_per_epoch,
        )
    soft = config.soft_start_annealing_schedule
    return SoftStartAnnealing(
        soft.min_learning_rate, soft.max_learning_rate, soft.soft_start, soft.annealing, epochs * steps_per_epoch
    )
