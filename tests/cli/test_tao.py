"""Flags of TAO's launcher, which every subcommand accepts."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from qatkit.cli.tao import TaoCommand
from qatkit.errors import EnvironmentProblem, UsageError


def command(seen: dict[str, object]) -> click.Command:
    @click.command("show", cls=TaoCommand)
    @click.option("-el", "--excluded_layers", multiple=True)
    @click.option("-m", "--model")
    def show(**values: object) -> None:
        seen.update(values)

    return show


@pytest.mark.parametrize(
    "arguments, layers",
    [
        ([], ()),
        (["-el", "a"], ("a",)),
        (["-el", "a", "b", "-m", "x"], ("a", "b")),
        (["--excluded_layers", "a", "-m", "x", "-el", "b"], ("a", "b")),
    ],
)
def test_several_values_after_one_flag(arguments: list[str], layers: tuple[str, ...]) -> None:
    seen: dict[str, object] = {}
    command(seen).main(arguments, standalone_mode=False)
    assert seen["excluded_layers"] == layers


def test_launcher_flags_do_not_reach_the_subcommand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    seen: dict[str, object] = {}
    arguments = ["--gpus", "1", "-np", "1", "--gpu_index", "2", "0", "-m", "x"]
    command(seen).main(arguments, standalone_mode=False)
    assert seen == {"excluded_layers": (), "model": "x"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,2"


@pytest.mark.parametrize("arguments", [["--gpus", "2"], ["--use_amp"]])
def test_flags_of_training_are_refused_elsewhere(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="train, not with show"):
        command({}).main(arguments, standalone_mode=False)


def test_log_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="log_file"):
        command({}).main(["--log_file", str(tmp_path / "file" / "log")], standalone_mode=False)
