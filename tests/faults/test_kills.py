"""A training that is killed twenty times, at any moment, ends with the weights of one that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from qatkit.model.open import open_model
from qatkit.training.checkpoint import latest
from tests.support.commands import replaced, start, succeed
from tests.support.workspace import make_workspace, small_training

KILLS = 20
EPOCHS = 60
FLAGS = ("--enable_determinism",)
AUTOWEIGHTING = ("enable_autoweighting: false", "enable_autoweighting: true")
SEED = 7


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_training(make_workspace(tmp_path_factory.mktemp("faults")))


def spec_of(small: Path, kind: str) -> Path:
    path = small.with_name(f"{kind}.txt")
    text = replaced(small.read_text(), ("num_epochs: 5", f"num_epochs: {EPOCHS}"), AUTOWEIGHTING)
    path.write_text(text if kind == "qat" else replaced(text, ("enable_qat: true", "")))
    return path


def kill(process: subprocess.Popen[str], folder: Path, moment: random.Random) -> str:
    """Kill a training: while it starts, between two steps or in one, or while it writes a file; tell when."""
    before, when = written(folder), moment.choice(("start", "steps", "steps", "writing", "writing"))
    if when != "start":
        events = before + moment.randrange(3, 8)  # an epoch has two, with its validation
        wait(process, lambda: written(folder) >= events)
    time.sleep(moment.uniform(0, 0.3 if when != "start" else 10))
    if when == "writing":
        wait(process, lambda: bool(half_written(folder)))
    process.kill()
    process.communicate(timeout=60)
    found = [name for name in half_written(folder) if f".{process.pid}." in name]
    return f"in {when}, with {found[0]} half written" if found else f"in {when}"


def wait(process: subprocess.Popen[str], until: Callable[[], bool]) -> None:
    while not until() and process.poll() is None:
        time.sleep(0.0005)


def half_written(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".model.*.tmp")]


def written(folder: Path) -> int:
    """How many events of epochs status.json has."""
    path = folder / "status.json"
    return path.read_text().count("RUNNING") if path.exists() else 0


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["float", "qat"])
def test_twenty_kills_change_nothing(small: Path, tmp_path: Path, kind: str) -> None:
    spec, killed, straight = spec_of(small, kind), tmp_path / "killed", tmp_path / "straight"
    moment, kills = random.Random(SEED), 0
    while kills < KILLS:
        process = start("train", "-e", spec, "-r", killed, *FLAGS)
        told = kill(process, killed, moment)
        assert process.returncode == -signal.SIGKILL, "ended before all kills: more epochs are needed"
        kills += 1
        newest = latest(killed) if killed.is_dir() else None
        print(f"{kind}: kill {kills:2d} {told}; newest: {newest.name if newest else 'none'}", flush=True)
    succeed("train", "-e", spec, "-r", killed, *FLAGS)
    succeed("train", "-e", spec, "-r", straight, *FLAGS)
    for file in ("model.tlt", "model.best.tlt"):
        one, other = (open_model(folder / "weights" / file) for folder in (killed, straight))
        assert one.ranges == other.ranges
        for name, array in other.graph.weights.items():
            assert_array_equal(one.graph.weights[name], array, err_msg=f"{file}: {name}")
    assert not list(killed.rglob("*.tmp"))
    print(f"{kind}: weights, ranges and best model are bit-equal after {kills} kills", flush=True)
