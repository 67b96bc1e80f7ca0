"""A training that is stopped, by whatever means, and started again ends as one that was not."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qatkit.model.open import open_model
from tests.support.commands import replaced, start, succeed

EPOCHS, VALIDATED = 20, (1, 6, 11, 16, 20)
FLAGS = ("--enable_determinism", "--qat_freeze_from", 0.6)


@pytest.fixture(scope="module")
def spec(small: Path) -> Path:
    """Epochs enough to be stopped in between; quantization-aware, with a checkpoint after each."""
    path = small.with_name("interrupted.txt")
    period = "validation_period_during_training: "
    path.write_text(
        replaced(small.read_text(), ("num_epochs: 5", f"num_epochs: {EPOCHS}"), (f"{period}1", f"{period}5"))
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
    """The epochs of the checkpoints in `folder`."""
    return sorted(int(path.name.split("-")[1].split(".")[0]) for path in folder.glob("model.epoch-*.ckpt"))


def last_event(folder: Path) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((folder / "status.json").read_text().splitlines()[-1])
    return event


def test_a_killed_run_leaves_a_checkpoint(spec: Path, folder: Path) -> None:
    code, _, began = stop(spec, folder, 3, signal.SIGKILL)
    assert (code, began) == (-signal.SIGKILL, 1)
    assert 2 <= checkpoints(folder)[-1] < EPOCHS
    assert not (folder / "weights").exists()


@pytest.mark.parametrize(
    "number, after_epoch, status, message",
    [(signal.SIGTERM, 8, 143, "terminated"), (signal.SIGINT, 14, 130, "interrupted")],
)
def test_a_stopped_run_ends_in_order(
    spec: Path, folder: Path, number: signal.Signals, after_epoch: int, status: int, message: str
) -> None:
    """It continues the run before, which may have died in the middle of writing."""
    (folder / ".model.epoch-1.ckpt.4194305.tmp").write_bytes(b"half a checkpoint")
    before = checkpoints(folder)[-1]
    code, error, began = stop(spec, folder, after_epoch, number)
    assert (code, began) == (status, before + 1)
    assert error.splitlines()[-1] == f"error: {message}"
    assert "Traceback" not in error
    assert not list(folder.rglob("*.tmp"))
    assert after_epoch - 1 <= checkpoints(folder)[-1] < EPOCHS
    assert (last_event(folder)["status"], last_event(folder)["message"]) == ("FAILURE", "interrupted")


def test_the_continued_run_ends_with_the_same_weights(spec: Path, folder: Path, tmp_path: Path) -> None:
    assert checkpoints(folder)[-1] > 0.6 * EPOCHS  # ranges are frozen already
    succeed("train", "-e", spec, "-r", folder, *FLAGS)
    succeed("train", "-e", spec, "-r", tmp_path, *FLAGS)
    stopped, straight = (open_model(path / "weights" / "model.tlt") for path in (folder, tmp_path))
    assert stopped.ranges == straight.ranges
    for name, array in straight.graph.weights.items():
        assert_array_equal(stopped.graph.weights[name], array, err_msg=name)
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
