"""What of a training is shown to those who watch it, and when: `training_config.visualizer`, with TAO's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatkit.console import warn
from qatkit.keras.cost import OBJECTIVES
from qatkit.keras.fake_quant import QuantizedKerasGraph
from qatkit.keras.step import Stepper, StepResult
from qatkit.spec import VisualizerConfig
from qatkit.training.watch.sinks import Sink, reason

if TYPE_CHECKING:
    from qatkit.training.loop import Validation

_HISTOGRAMS = {"kernel": "weight", "gamma": "gamma", "beta": "beta"}


@dataclass(frozen=True)
class Times:
    """When what is shown. points: of scalars in an epoch. epochs: between images and histograms; 0 = none at all."""

    points: int = 10
    epochs: int = 0

    @classmethod
    def from_spec(cls, config: VisualizerConfig) -> Times:
        """Images and histograms only where the visualizer is enabled, as in TAO."""
        return cls(config.scalar_logging_frequency, config.infrequent_logging_frequency if config.enabled else 0)

    def scalars_due(self, step: int, steps_per_epoch: int) -> bool:
        """step: how many are done. With fewer steps in an epoch than points every step is one."""
        return step % max(steps_per_epoch // self.points, 1) == 0

    def images_due(self, epoch: int, last: int) -> bool:
        """After `epoch` epochs; always at the end."""
        return self.epochs > 0 and (epoch % self.epochs == 0 or epoch == last)


class Watch(AbstractContextManager["Watch"]):
    """Shows a training to `sinks`, and draws its curve after each validation.

    Processes that train together make the same calls, as reading a variable may need all of them; only the sinks and
    the curve of the chief write something. Use it as a context around the training: it tells the sinks how it ended.
    """

    def __init__(
        self,
        stepper: Stepper,
        classes: Sequence[str],
        sinks: Sequence[Sink] = (),
        times: Times | None = None,
        *,
        images: Callable[[], NDArray[np.uint8]] | None = None,
        curve: Callable[[], None] | None = None,
    ) -> None:
        """images: validation images [n, H, W, 3] with what is found in them now. curve: draws the curve so far."""
        self._stepper = stepper
        self._classes = tuple(classes)
        self._sinks = tuple(sinks)
        self._times = times or Times()
        self._images = images
        self._curve = curve

    def stepped(self, step: int, steps_per_epoch: int, result: StepResult, rate: float) -> None:
        """After a training step; `step` are done."""
        if self._sinks and self._times.scalars_due(step, steps_per_epoch):
            self._show({"learning_rate": rate, **self._costs(result)}, step)

    def epoch_ended(self, epoch: int, last: int, step: int, speed: float, input_share: float) -> None:
        """After the steps of an epoch. speed: images a second. input_share: 0..1, see `Meter`."""
        if not self._sinks:
            return
        self._show({"images_per_second": speed, "waiting_for_input (in %)": 100 * input_share}, step)
        if self._times.images_due(epoch, last):
            found = self._histograms()
            for sink in self._sinks:
                sink.histograms(found, step)
            self._show_images(step)

    def validated(self, step: int, result: Validation) -> None:
        """After a validation, when status.json has it."""
        found = {f"{name}_AP (in %)": value for name, value in result.ap.items() if value is not None}
        means = {"validation_cost": result.cost, "mean average precision (mAP) (in %)": result.map}
        self._show({**means, **found}, step)
        if self._curve is not None:
            try:
                self._curve()
            except Exception as error:  # a full disk, most likely: the training is worth more
                warn(f"training curve: {reason(error)}; training goes on")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self._sinks:
            sink.close(failed=error is not None)

    def _show(self, values: Mapping[str, float], step: int) -> None:
        for sink in self._sinks:
            sink.scalars(values, step)

    def _costs(self, result: StepResult) -> dict[str, float]:
        """The parts of the cost under TAO's names."""
        stepper = self._stepper
        weights = stepper.objective_weights.numpy()
        shares = stepper.cost_config.class_weights[:, None] * weights * result.components
        task = float(shares.sum())
        found = {"task_cost": task, "regularization_cost": result.loss - task, "total_cost": result.loss}
        for row, name in enumerate(self._classes):
            for column, objective in enumerate(OBJECTIVES):
                found[f"mean_cost_{name}_{objective}"] = float(result.components[row, column])
                found[f"cost_percentage_{name}_{objective}"] = (
                    100 * float(shares[row, column]) / task if task else 0.0
                )
                found[f"cost_autoweight_{name}_{objective}"] = float(weights[row, column])
        if stepper.scaling is not None:
            exponent = float(stepper.scaling.exponent.numpy())
            found |= {
                "cost_scaling_exponent": exponent,
                "scaled_total_cost": result.loss * 2.0 ** min(exponent, 1000),
            }
            found["bad_grad_counter"] = float(stepper.scaling.bad_steps.numpy())
        return found

    def _histograms(self) -> dict[str, NDArray[np.float32]]:
        """What is trained, and the ranges of quantization: of all tensors in one, and a line for each."""
        network = self._stepper.network
        found = {
            f"histogram/{_HISTOGRAMS[part]}/{layer}": np.asarray(variable.numpy(), np.float32)
            for name, variable in network.variables.items()
            for layer, _, part in [name.rpartition("/")]
            if part in _HISTOGRAMS
        }
        if isinstance(network, QuantizedKerasGraph):
            found["histogram/qat_range"] = np.array(list(network.ranges().values()), np.float32)
        return found

    def _show_images(self, step: int) -> None:
        network = self._stepper.network
        if isinstance(network, QuantizedKerasGraph):
            self._show({f"qat_range/{name}": amax for name, amax in network.ranges().items()}, step)
        if self._images is not None:
            shown = self._images()
            for sink in self._sinks:
                sink.images("image/validation", shown, step)
