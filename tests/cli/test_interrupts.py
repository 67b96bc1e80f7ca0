"""A training that is stopped, by whatever means, and started again ends as one that was not."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qatkit.model.open import open_model
from qatkit.training.checkpoint import latest
from tests.support.commands import replaced, start, succeed

EPOCHS, VALIDATED = 20, (1, 6, 11, 16, 20)
STEPS = 4  # in each epoch
AUTOWEIGHTING = ("enable_autoweighting: false", "enable_autoweighting: true")
FLAGS = ("--enable_determinism", "--qat_freeze_from", 0.6)


@pytest.fixture(scope="module")
def spec(small: Path) -> Path:
    """Epochs enough to be stopped in between; quantization-aware, with a checkpoint after each."""
    path = small.with_name("interrupted.txt")
    period = "validation_period_during_training: "
    path.write_text(
        replaced(
            small.read_text(), ("num_epochs: 5", f"num_epochs: {EPOCHS}"), (f"{period}1", f"{period}5"), AUTOWEIGHTING
        )
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of this module, one after the other, work on the same training."""
    return tmp_path_factory.mktemp("interrupted")


def stop(spec: Path, folder: Path, after_epoch: int, number: signal.Signals) -> tuple[int, str, int]:
    """Train until `after_epoch` is reported, then send a signal: exit status, standard error, the first epoch."""
    process = start("train", "-e", spec, "-r", folder, *FLAGS)
    assert process.stdout is not None
    began = 0
    for line in process.stdout:
        epoch = re.match(r"Epoch (\d+)/", line)
        began = began or (int(epoch[1]) if epoch else 0)
        if epoch and int(epoch[1]) >= after_epoch:
            process.send_signal(number)
            break
    _, error = process.communicate(timeout=240)
    return process.returncode, error, began


def checkpoints(folder: Path) -> list[int]:
    """The epochs that are done in the checkpoints in `folder`."""
    return sorted(int(re.split(r"[-.]", path.name)[2]) for path in folder.glob("model.epoch-*.ckpt"))


def last_event(folder: Path) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((folder / "status.json").read_text().splitlines()[-1])
    return event


def test_a_killed_run_leaves_a_checkpoint(spec: Path, folder: Path) -> None:
    code, _, began = stop(spec, folder, 3, signal.SIGKILL)
    assert (code, began) == (-signal.SIGKILL, 1)
    assert 2 <= checkpoints(folder)[-1] < EPOCHS
    assert not (folder / "weights" / "model.tlt").exists()


def test_a_run_that_is_killed_while_it_writes_leaves_the_file_before(spec: Path, folder: Path) -> None:
    before = checkpoints(folder)[-1]
    process = start("train", "-e", spec, "-r", folder, *FLAGS)
    while not list(folder.rglob(".model.*.tmp")) and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL
    assert before <= checkpoints(folder)[-1] < EPOCHS


@pytest.mark.parametrize(
    "number, after_epoch, status, word",
    [(signal.SIGTERM, 8, 143, "terminated"), (signal.SIGINT, 14, 130, "interrupted")],
)
def test_a_stopped_run_saves_its_last_step(
    spec: Path, folder: Path, number: signal.Signals, after_epoch: int, status: int, word: str
) -> None:
    """It continues the run before, which may have died in the middle of writing."""
    (folder / ".model.epoch-1.ckpt.4194305.tmp").write_bytes(b"half a checkpoint")
    before = checkpoints(folder)[-1]
    code, error, began = stop(spec, folder, after_epoch, number)
    assert (code, began) == (status, before + 1)
    told = re.fullmatch(
        rf"error: {word} after step (\d+) of {STEPS * EPOCHS}, saved as (\S+) "
        r"\(the same command, without --restart, goes on from there\)",
        error.splitlines()[-1],
    )
    assert told, error
    assert "Traceback" not in error
    assert not list(folder.rglob("*.tmp"))
    step, path = int(told[1]), Path(told[2])
    assert after_epoch * STEPS <= step < EPOCHS * STEPS
    assert path == latest(folder)
    within = f".step-{step}" if step % STEPS else ""
    assert path.name == f"model.epoch-{step // STEPS}{within}.ckpt"
    assert (last_event(folder)["status"], last_event(folder)["message"]) == ("FAILURE", told[0][len("error: ") :])


def test_the_continued_run_ends_with_the_same_weights(spec: Path, folder: Path, tmp_path: Path) -> None:
    assert checkpoints(folder)[-1] > 0.6 * EPOCHS  # ranges are frozen already
    succeed("train", "-e", spec, "-r", folder, *FLAGS)
    succeed("train", "-e", spec, "-r", tmp_path, *FLAGS)
    for file in ("model.tlt", "model.best.tlt"):
        stopped, straight = (open_model(path / "weights" / file) for path in (folder, tmp_path))
        assert stopped.ranges == straight.ranges
        for name, array in straight.graph.weights.items():
            assert_array_equal(stopped.graph.weights[name], array, err_msg=f"{file}: {name}")
    assert last_event(folder)["kpi"]["best epoch"] == last_event(tmp_path)["kpi"]["best epoch"]
    costs = [validation_costs(path) for path in (folder, tmp_path)]
    assert costs[0] == costs[1]
    assert tuple(costs[1]) == VALIDATED
    assert len(set(costs[1].values())) > 1


def validation_costs(folder: Path) -> dict[int, float]:
    """Epoch -> the cost that was last reported for it."""
    events = [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]
    costs = {event["epoch"]: event["kpi"]["validation cost"] for event in events if "categorical" in event}
    assert np.isfinite(list(costs.values())).all()
    return costs
