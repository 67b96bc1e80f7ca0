"""What of a training is shown, and when."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qatkit.errors import EnvironmentProblem
from qatkit.keras.fake_quant import to_fake_quantized
from qatkit.keras.step import StepResult
from qatkit.quantization.placement import place
from qatkit.spec import CostScalingConfig, TrainingConfig, VisualizerConfig
from qatkit.training.loop import Validation
from qatkit.training.watch.watch import Times, Watch
from tests.support.detector import ADAM, COST, detector, stepper

CLASSES = ("person", "bag")
RESULT = StepResult(0.5, np.float32([[0.2, 0.1], [0.4, 0.0]]))


class Kept:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.numbers: list[tuple[int, dict[str, float]]] = []
        self.arrays: dict[str, NDArray[np.float32]] = {}
        self.shown: list[tuple[str, int]] = []
        self.failed: bool | None = None

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.numbers.append((step, dict(values)))

    def histograms(self, values: Mapping[str, NDArray[np.float32]], step: int) -> None:
        self.arrays |= values

    def images(self, name: str, images: NDArray[np.uint8], step: int) -> None:
        self.shown.append((name, step))

    def close(self, *, failed: bool) -> None:
        self.failed = failed


@pytest.fixture(scope="module")
def trained() -> Any:
    return stepper(detector())


@pytest.mark.parametrize(
    "points, steps_per_epoch, at",
    [
        (10, 20, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (2, 9, [4, 8, 12, 16, 20]),
        (10, 4, list(range(1, 21))),  # TAO refuses such a training
        (1, 10, [10, 20]),
    ],
)
def test_scalars_come_so_many_times_an_epoch(points: int, steps_per_epoch: int, at: list[int], trained: Any) -> None:
    kept = Kept()
    watch = Watch(trained, CLASSES, [kept], Times(points))
    for step in range(1, 21):
        watch.stepped(step, steps_per_epoch, RESULT, 1e-3)
    assert [step for step, _ in kept.numbers] == at


@pytest.mark.parametrize("epochs, after", [(0, []), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_images_and_histograms_come_every_so_many_epochs_and_at_the_end(
    epochs: int, after: list[int], trained: Any
) -> None:
    kept = Kept()
    watch = Watch(trained, CLASSES, [kept], Times(10, epochs), images=lambda: np.zeros((1, 2, 2, 3), np.uint8))
    for epoch in range(1, 6):
        watch.epoch_ended(epoch, 5, 10 * epoch, 20.0, 0.25)
    assert kept.shown == [("image/validation", 10 * epoch) for epoch in after]
    assert bool(kept.arrays) == bool(after)
    assert kept.numbers[0] == (10, {"images_per_second": 20.0, "waiting_for_input (in %)": 25.0})


def test_times_of_a_spec() -> None:
    config = VisualizerConfig(enabled=True, scalar_logging_frequency=7, infrequent_logging_frequency=3)
    assert Times.from_spec(config) == Times(7, 3)
    config.enabled = False
    assert Times.from_spec(config) == Times(7, 0)


def test_the_parts_of_the_cost(trained: Any) -> None:
    kept = Kept()
    Watch(trained, CLASSES, [kept]).stepped(10, 10, RESULT, 1e-3)
    values = kept.numbers[0][1]
    # By hand: class weights 0.75 and 0.25, objective weights (0.5, 0.5) and (0.2, 0.8).
    task = 0.75 * (0.5 * 0.2 + 0.5 * 0.1) + 0.25 * (0.2 * 0.4)
    assert values["task_cost"] == pytest.approx(task)
    assert values["regularization_cost"] == pytest.approx(0.5 - task)
    assert (values["total_cost"], values["learning_rate"]) == (0.5, 1e-3)
    assert values["mean_cost_person_cov"] == pytest.approx(0.2)
    assert values["cost_percentage_bag_cov"] == pytest.approx(100 * 0.25 * 0.08 / task)
    assert values["cost_percentage_bag_bbox"] == 0
    assert values["cost_autoweight_bag_bbox"] == pytest.approx(COST.initial_weights[1, 1])
    assert not any("scaling" in name for name in values)


def test_the_state_of_cost_scaling() -> None:
    config = TrainingConfig(optimizer=ADAM, cost_scaling=CostScalingConfig(enabled=True, initial_exponent=3))
    kept = Kept()
    Watch(stepper(detector(), config), CLASSES, [kept]).stepped(10, 10, RESULT, 1e-3)
    values = kept.numbers[0][1]
    found = values["cost_scaling_exponent"], values["scaled_total_cost"], values["bad_grad_counter"]
    assert found == (3.0, 4.0, 0.0)


def test_a_validation(trained: Any) -> None:
    kept, drawn = Kept(), []
    watch = Watch(trained, CLASSES, [kept], curve=lambda: drawn.append(True))
    watch.validated(20, Validation(40.0, {"person": 40.0, "bag": None}, 0.25))
    found = {"validation_cost": 0.25, "mean average precision (mAP) (in %)": 40.0, "person_AP (in %)": 40.0}
    assert kept.numbers == [(20, found)]
    assert drawn == [True]


def test_a_curve_that_cannot_be_drawn_does_not_end_the_training(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise EnvironmentProblem("training_curve.png: cannot write: No space left on device")

    Watch(trained, CLASSES, curve=full).validated(20, Validation(40.0, {}, 0.25))
    told = "warning: training curve: training_curve.png: cannot write: No space left on device; training goes on\n"
    assert capsys.readouterr().err == told


def test_histograms_are_of_what_is_trained(trained: Any) -> None:
    kept = Kept()
    Watch(trained, CLASSES, [kept], Times(10, 1)).epoch_ended(1, 1, 10, 20.0, 0.25)
    assert {"histogram/weight/a", "histogram/gamma/a_bn", "histogram/beta/b_bn"} <= set(kept.arrays)
    assert not any("mean" in name or "qat" in name for name in kept.arrays)
    weights = trained.network.read().weights
    assert (kept.arrays["histogram/weight/a"] == weights["a/kernel"]).all()


def test_ranges_of_quantization_aware_training() -> None:
    graph = detector()
    plan = place(graph)
    ranges = {name: float(number + 1) for number, name in enumerate(plan.activations)}
    quantized = SimpleNamespace(network=to_fake_quantized(graph, plan, ranges, 0.9), scaling=None)
    kept = Kept()
    Watch(quantized, CLASSES, [kept], Times(10, 1)).epoch_ended(1, 1, 10, 20.0, 0.25)  # type: ignore[arg-type]
    assert sorted(kept.arrays["histogram/qat_range"].tolist()) == sorted(ranges.values())
    shown = kept.numbers[-1][1]
    assert shown == {f"qat_range/{name}": amax for name, amax in ranges.items()}


@pytest.mark.parametrize("error, failed", [(None, False), (ValueError("no"), True), (KeyboardInterrupt(), True)])
def test_sinks_are_told_how_the_training_ended(error: BaseException | None, failed: bool, trained: Any) -> None:
    kept = Kept()
    try:
        with Watch(trained, CLASSES, [kept]):
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt) as passed_on:
        assert passed_on is error
    assert kept.failed is failed


def test_nobody_watches(trained: Any) -> None:
    with Watch(trained, CLASSES) as watch:
        watch.stepped(1, 1, RESULT, 1e-3)
        watch.epoch_ended(1, 1, 1, 20.0, 0.25)
        watch.validated(1, Validation(40.0, {}, 0.25))
