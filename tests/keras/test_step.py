"""One training step: what it reports, what it moves, and that several devices do what one does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from qatkit.graph.graph import Graph
from qatkit.keras.network import to_keras
from qatkit.keras.step import Stepper, Teacher
from qatkit.spec import RegularizerConfig
from qatkit.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from tests.support.detector import EPSILON, PLAIN_DESCENT, batch, detector, stepper, training_config

pytestmark = pytest.mark.usefixtures("eager")
CONVOLUTIONS = ("a", "output_bbox", "output_cov")  # what is regularized: not the depthwise one
LEARNED = {"kernel", "bias", "gamma", "beta"}


@pytest.fixture
def eager(request: pytest.FixtureRequest) -> Iterator[None]:
    """Without tracing, which takes longer than a few steps do; `traced` tests do without."""
    traced = "traced" in request.fixturenames
    tf.config.run_functions_eagerly(not traced)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def traced() -> None:
    """Run tf.functions as in production."""


def gradient(graph: Graph, **regularizer: object) -> dict[str, np.ndarray]:
    """Weight name -> the gradient that one step descends."""
    rate = 1.0
    step = stepper(graph, training_config(PLAIN_DESCENT, **regularizer))
    step(batch(), rate * EPSILON)
    after = step.network.read().weights
    return {name: (array - after[name]) / rate for name, array in graph.weights.items()}


@pytest.mark.parametrize("kind", ["L1", "L2", "NO_REG"])
def test_regularization_by_hand(kind: str) -> None:
    graph, weight = detector(), 1e-2
    plain = stepper(graph)(batch(), 0.0).loss
    found = stepper(graph, training_config(type=kind, weight=weight))(batch(), 0.0).loss
    arrays = [graph.weight(name, part) for name in CONVOLUTIONS for part in ("kernel", "bias")]
    measure = {"L1": np.abs, "L2": np.square, "NO_REG": np.zeros_like}[kind]
    assert found - plain == pytest.approx(weight * sum(measure(array).sum() for array in arrays), rel=1e-4)


@pytest.mark.parametrize("kind, slope", [("L1", np.sign), ("L2", lambda w: 2 * w)])
def test_gradient_of_the_regularization(kind: str, slope: np.ufunc) -> None:
    graph, weight = detector(), 0.5
    plain, found = gradient(graph), gradient(graph, type=kind, weight=weight)
    for name, array in graph.weights.items():
        node, _, part = name.partition("/")
        expected = weight * slope(array) if node in CONVOLUTIONS and part in LEARNED else 0 * array
        if part in LEARNED:
            assert_allclose(found[name] - plain[name], expected, atol=2e-3, err_msg=name)


def test_the_values_of_the_spec_are_those_of_the_step() -> None:
    assert (RegularizerConfig.NO_REG, RegularizerConfig.L1, RegularizerConfig.L2) == (0, 1, 2)


def test_the_loss_weighs_classes_and_objectives() -> None:
    result = stepper(detector())(batch(), 0.0)
    weights = np.float32([[0.5, 0.5], [0.2, 0.8]]) * np.float32([[0.75], [0.25]])
    assert result.loss == pytest.approx(float((weights * result.components).sum()), rel=1e-5)
    assert (result.components > 0).all()


def test_a_step_reports_the_cost_before_its_update() -> None:
    step, elements = stepper(detector(frozen=True)), batch()
    bbox, cov = step.network.model(elements["image"], training=False)
    expected = step.cost(elements, cov, bbox)
    assert step(elements, 1e-3).loss == pytest.approx(expected, rel=1e-5)


def test_training_on_one_batch_lowers_its_loss(traced: None) -> None:
    step, elements = stepper(detector()), batch()
    losses = [step(elements, 5e-3).loss for _ in range(25)]
    assert losses[-1] < 0.6 * losses[0]
    # One trace serves all batches, at any rate.
    step(batch(seed=1), 1e-3)
    assert step._step.experimental_get_tracing_count() == 1


def moved(before: Graph, step: Stepper) -> set[str]:
    return {
        name for name, array in step.network.read().weights.items() if not np.array_equal(array, before.weights[name])
    }


def test_compilation_is_said_before_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    step = stepper(detector())
    for moving in (True, True, False, False):
        step(batch(), 1e-3, moving=moving)
    assert capsys.readouterr().out.splitlines() == [
        "Compiling the training step ...",
        "Compiling the training step with frozen statistics ...",
    ]


def test_everything_learns() -> None:
    graph = detector()
    step = stepper(graph)
    step(batch(), 1e-3)
    assert moved(graph, step) == set(graph.weights)


def test_frozen_layers_do_not_move_but_their_batch_norm_does() -> None:
    """As in TAO, freeze_blocks freezes convolutions only."""
    graph = detector()
    step = stepper(graph, frozen=("a", "b"))
    for _ in range(2):
        step(batch(), 1e-3)
    assert moved(graph, step) == set(graph.weights) - {"a/kernel", "a/bias", "b/kernel"}


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    graph = detector(frozen=True)
    step = stepper(graph)
    step(batch(), 1e-3)
    still = {f"{name}/{part}" for name in ("a_bn", "b_bn") for part in ("mean", "variance")}
    assert moved(graph, step) == set(graph.weights) - still


def test_at_a_standstill_statistics_stay_while_weights_move() -> None:
    graph = detector()
    step = stepper(graph)
    step(batch(), 1e-3, moving=False)
    assert moved(graph, step) == {name for name in graph.weights if name.rpartition("/")[2] in LEARNED}


def test_a_rate_of_zero_moves_statistics_only() -> None:
    graph = detector()
    step = stepper(graph)
    step(batch(), 0.0)
    assert {name.rpartition("/")[2] for name in moved(graph, step)} == {"mean", "variance"}


def test_objective_weights_are_not_learned_but_count() -> None:
    step, other = stepper(detector()), stepper(detector())
    before = step.objective_weights.numpy()
    other.objective_weights.assign(2 * before)
    assert other(batch(), 1e-3).loss == pytest.approx(2 * step(batch(), 1e-3).loss, rel=1e-5)
    assert_array_equal(step.objective_weights.numpy(), before)


def test_a_step_after_a_checkpoint_is_the_step_that_would_have_come(tmp_path: Path) -> None:
    straight, stopped = stepper(detector()), stepper(detector())
    for step in (straight, stopped):
        step.objective_weights.assign([[0.3, 0.7], [0.9, 0.1]])
        for seed in range(2):
            step(batch(seed=seed), 1e-3)
    path = save_checkpoint(tmp_path, Progress("run", 2, 1), {**stopped.network.state(), **stopped.state()})
    _, arrays, _ = load_checkpoint(path, "run")
    resumed = stepper(detector(seed=5))
    resumed.network.restore(arrays)
    resumed.restore(arrays)
    results = [step(batch(seed=2), 1e-3) for step in (straight, resumed)]
    assert results[0].loss == results[1].loss
    for name, array in straight.network.read().weights.items():
        assert_array_equal(array, resumed.network.read().weights[name], err_msg=name)


def test_mixed_precision_trains_float32_weights() -> None:
    graph = detector()
    step = stepper(to_keras(graph, policy="mixed_bfloat16"))
    found, expected = step(batch(), 1e-3), stepper(graph)(batch(), 1e-3)
    assert found.loss == pytest.approx(expected.loss, rel=0.05)
    assert found.components.dtype == np.float32
    assert moved(graph, step) == set(graph.weights)


def test_two_devices_do_what_one_does(tmp_path: Path) -> None:
    """The mean of the devices' gradients is the gradient of the whole batch.

    In a process of its own: devices are set up before TensorFlow is used for the first time."""
    program = Path(__file__).with_name("two_devices.py")
    output = tmp_path / "arrays.npz"
    subprocess.run([sys.executable, str(program), str(output)], check=True, cwd=Path(__file__).parents[2])
    with np.load(output) as arrays:
        found = dict(arrays)
    for name in (name for name in found if name.startswith("one/")):
        other = found[name.replace("one/", "two/")]
        assert_allclose(other, found[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert found["one/loss"].shape == (3,)
    assert found["replicas"] == 2
    assert found["changed"] > 0.1
    # With batch norm, fake quantization and ranges: what was saved is what another run continues from.
    for name in (name for name in found if name.startswith("saved/")):
        assert_array_equal(found[name.replace("saved/", "restored/")], found[name], err_msg=name)
    assert found["qat_moved"].all()
    # A gradient that is not finite on one device is one on all: no update, one step down.
    assert (found["bad/gradients"] == np.zeros((2, 2))).all()
    assert found["bad/exponent"] == 2


def test_no_object_at_all() -> None:
    elements = {**batch(), "class_ids": tf.fill((4, 2), -1)}
    result = stepper(detector())(elements, 1e-3)
    assert_array_equal(result.components[:, 1], [0, 0])  # no box, no box cost
    assert (result.components[:, 0] > 0).all()


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_teacher_has_its_share_of_the_cost(weight: float) -> None:
    graph, other = detector(), to_keras(detector(seed=1))
    plain = stepper(graph)(batch(), 0.0).loss
    imitation = stepper(graph, teacher=Teacher(other, 1.0))(batch(), 0.0).loss
    found = stepper(graph, teacher=Teacher(other, weight))(batch(), 0.0).loss
    assert plain != pytest.approx(imitation, rel=0.01)
    assert found == pytest.approx((1 - weight) * plain + weight * imitation, rel=1e-5)


def test_the_best_imitation_is_the_teacher_itself() -> None:
    """No other network has a smaller cost than the one that finds what the teacher finds: its gradient is zero."""
    graph = detector(norms=False)
    step = stepper(graph, training_config(PLAIN_DESCENT), teacher=Teacher(to_keras(graph), 1.0))
    step(batch(), EPSILON)
    for name, array in step.network.read().weights.items():
        assert_allclose(array, graph.weights[name], atol=1e-5, err_msg=name)


def test_a_teacher_stays_what_it_is() -> None:
    teacher = to_keras(detector(seed=1))
    before = teacher.read().weights
    stepper(detector(), teacher=Teacher(teacher, 0.5))(batch(), 1e-2)
    for name, array in teacher.read().weights.items():
        assert_array_equal(array, before[name])
