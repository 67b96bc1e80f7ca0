"""`qatkit train --extend`: more epochs for a training that was planned for fewer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_array_equal

from qatkit.model.open import open_model
from qatkit.spec import load_experiment
from qatkit.training.schedule import from_spec
from tests.support.commands import Outcome, qatkit, replaced, succeed

FLAGS = ("--enable_determinism", "--qat_freeze_from", 0.6)
SHORT, LONG = 2, 4


def edited(small: Path, epochs: int, *more: tuple[str, str]) -> Path:
    path = small.with_name(f"epochs_{epochs}_{len(more)}.txt")
    path.write_text(replaced(small.read_text(), ("num_epochs: 5", f"num_epochs: {epochs}"), *more))
    return path


@pytest.fixture(scope="module")
def finished(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantization-aware training of two epochs."""
    folder = tmp_path_factory.mktemp("short")
    succeed("train", "-e", edited(small, SHORT), "-r", folder, *FLAGS)
    return folder


@pytest.fixture(scope="module")
def extended(small: Path, finished: Path) -> tuple[Path, Outcome]:
    """It, and then two epochs more."""
    folder = copy_of(finished, "long")
    return folder, succeed("train", "-e", edited(small, LONG), "-r", folder, *FLAGS, "--extend")


def copy_of(folder: Path, name: str) -> Path:
    return shutil.copytree(folder, folder.with_name(f"{folder.name}_{name}"))


def running(folder: Path) -> list[dict[str, Any]]:
    """The events of epochs, of all runs in `folder`."""
    events = [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]
    return [event for event in events if "graphical" in event]


def assert_same_model(one: Path, other: Path) -> None:
    models = [open_model(folder / "weights" / "model.tlt") for folder in (one, other)]
    assert models[0].ranges == models[1].ranges
    for name, array in models[0].graph.weights.items():
        assert_array_equal(array, models[1].graph.weights[name], err_msg=name)


def test_it_goes_on_with_the_rates_of_the_longer_schedule(small: Path, extended: tuple[Path, Outcome]) -> None:
    folder, outcome = extended
    assert "Resuming from" in outcome.out and f"(epoch {SHORT} of {LONG})" in outcome.out
    assert f"Extended from {SHORT} to {LONG} epochs: at step " in outcome.out
    assert f"the result is not that of a training planned for {LONG} from the start." in outcome.out
    events = running(folder)
    assert [(event["epoch"], event["max_epoch"]) for event in events][-2:] == [(3, LONG), (4, LONG)]
    config = load_experiment(edited(small, LONG)).training_config
    steps = int(outcome.out.partition("at step ")[2].split()[0]) // SHORT
    schedule = from_spec(config.learning_rate, LONG, steps)
    for event in events[-2:]:
        assert event["graphical"]["learning_rate"] == f"{schedule.rate(event['epoch'] * steps - 1):.6g}"


def test_it_gives_the_same_bits_again_also_when_it_is_stopped(
    small: Path, finished: Path, extended: tuple[Path, Outcome]
) -> None:
    again = copy_of(finished, "again")
    succeed("train", "-e", edited(small, LONG), "-r", again, *FLAGS, "--extend")
    assert_same_model(again, extended[0])
    # As if it had been killed after its first checkpoint, which belongs to the longer training.
    (again / f"model.epoch-{LONG}.ckpt").unlink()
    (again / "weights" / "model.tlt").unlink()
    outcome = succeed("train", "-e", edited(small, LONG), "-r", again, *FLAGS)
    assert f"(epoch {LONG - 1} of {LONG})" in outcome.out and "Extended" not in outcome.out
    assert_same_model(again, extended[0])


@pytest.mark.parametrize(
    "epochs, flags, more, message",
    [
        (LONG, (), (), f"planned for {SHORT} epochs, the spec now has {LONG} (--extend goes on to {LONG}, --restart"),
        (1, (), (), f"planned for {SHORT} epochs, the spec now has 1, and {SHORT} are done already (--restart"),
        (1, ("--extend",), (), "the spec now has 1, and 2 are done already"),
        (LONG, ("--extend",), (("random_seed: 42", "random_seed: 7"),), "with another spec, data, model"),
        (LONG, ("--extend", "--qat_ema_decay", 0.5), (), "or flags beside num_epochs"),
        (LONG, ("--extend", "--restart"), (), "--extend goes on from the checkpoints in -r, --restart forgets them"),
    ],
)
def test_what_is_refused(
    small: Path,
    finished: Path,
    epochs: int,
    flags: tuple[object, ...],
    more: tuple[tuple[str, str], ...],
    message: str,
) -> None:
    outcome = qatkit("train", "-e", edited(small, epochs, *more), "-r", finished, *FLAGS, *flags)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err.splitlines()[-1]
    assert (finished / f"model.epoch-{SHORT}.ckpt").is_file()


def test_a_folder_without_a_training_begins_one(small: Path, finished: Path, tmp_path: Path) -> None:
    """So that a script can always say it."""
    outcome = succeed("train", "-e", edited(small, SHORT), "-r", tmp_path, *FLAGS, "--extend")
    assert "holds no checkpoint, so training begins at the start" in outcome.out
    assert_same_model(tmp_path, finished)
