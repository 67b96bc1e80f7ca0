"""What the end of an epoch needs of its steps; part of a checkpoint that is written within one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.keras.step import StepResult


class EpochSums:
    """How many steps of an epoch are done, and the sums of their losses and costs [C, 2] (cov, bbox)."""

    def __init__(self) -> None:
        self.steps = 0
        self.loss = 0.0
        self.components: NDArray[np.float64] = np.zeros(())

    def add(self, result: StepResult) -> None:
        self.steps += 1
        self.loss += result.loss
        self.components = self.components + result.components

    def state(self) -> dict[str, NDArray[Any]]:
        return {"epoch/loss": np.array(self.loss), "epoch/components": self.components}

    def restore(self, steps: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from `state()`, after `steps` steps."""
        self.steps, self.loss, self.components = steps, float(arrays["epoch/loss"]), arrays["epoch/components"]
