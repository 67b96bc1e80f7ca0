"""What the command line makes of errors: an exit code and a line for each kind, a traceback only for our own bugs."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import tensorflow as tf

import qatkit as package
from qatkit import cli
from qatkit.errors import DataError, DivergedError, EnvironmentProblem, GateError, ModelError, SpecError, UsageError
from tests.support.commands import ROOT, Outcome, qatkit

Failing = Callable[[BaseException | Callable[[], None]], Outcome]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Run a subcommand in which this happens: an exception, or whatever a function does."""

    def run(what: BaseException | Callable[[], None]) -> Outcome:
        @click.command()
        def prune() -> None:
            if isinstance(what, BaseException):
                raise what
            what()

        monkeypatch.setattr("qatkit.cli.prune.prune", prune)
        return qatkit("prune")

    return run


@pytest.mark.parametrize(
    "error, code",
    [
        (UsageError("found 2"), 2),
        (SpecError("found 2"), 2),
        (DataError("found 2"), 3),
        (ModelError("found 2"), 4),
        (EnvironmentProblem("found 2"), 5),
        (DivergedError("found 2"), 6),
        (GateError("found 2"), 7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_users(failing: Failing, error: Exception, code: int) -> None:
    assert failing(error) == Outcome(code, "", "error: found 2\n")


def exhausted() -> None:
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,512,512]\nHint: ...")


def no_space() -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


@pytest.mark.parametrize(
    "what, message",
    [
        (exhausted, "out of memory (use a smaller batch_size_per_gpu"),
        (MemoryError(), "out of memory (use a smaller batch_size_per_gpu"),
        (RuntimeError("[ONNXRuntimeError] : bfc_arena.cc: Failed to allocate memory for requested buffer"), "out of"),
        (no_space, "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "model.tlt"), "model.tlt: Disk quota exceeded"),
    ],
)
def test_what_the_machine_lacks(failing: Failing, what: BaseException | Callable[[], None], message: str) -> None:
    outcome = failing(what)
    assert outcome.code == 5
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    "error", [KeyError("conv1"), AssertionError("two\nlines"), FileNotFoundError(errno.ENOENT, "No such file", "x")]
)
def test_our_own_bugs_show_where_they_are(failing: Failing, error: Exception) -> None:
    outcome = failing(error)
    assert outcome.code == 1
    first, *_, last = outcome.err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "in prune" in outcome.err
    assert last.startswith(f"error: this is a bug in qatkit {package.__version__}: {type(error).__name__}: ")
    assert last.endswith("(please report it with the lines above)")


@pytest.mark.parametrize(
    "what, code, message",
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (lambda: os.kill(os.getpid(), signal.SIGINT), 130, "interrupted"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, "terminated"),
    ],
    ids=["exception", "SIGINT", "SIGTERM"],
)
def test_interrupts(failing: Failing, what: BaseException | Callable[[], None], code: int, message: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    outcome = failing(what)
    assert (outcome.code, outcome.err.strip()) == (code, f"error: {message}")
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_there_are_no_signals(failing: Failing) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(cli._run(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trian"], "No such command 'trian' (qatkit --help lists what there is)"),
        (
            ["train", "-r", "x"],
            "Missing option '-e' / '--experiment_spec_file' (qatkit train --help lists what there is)",
        ),
        (["train", "-e", "x", "-r", "y", "--epohcs", "3"], "No such option '--epohcs'"),
        (["train", "-e", "x", "-r"], "Option '-r' requires an argument"),
        (["train", "-e", "x", "-r", "y", "z"], "Got unexpected extra argument (z)"),
        (["train", "-e", "x", "-r", "y", "--qdq_placement", "nvidia"], "Invalid value for '--qdq_placement'"),
        (["evaluate", "-e", "x", "-m", "y", "--min_map", "101"], "Invalid value for '--min_map'"),
        (["evaluate", "-e", "x", "-m", "y", "-b", "0"], "Invalid value for '-b' / '--batch_size'"),
        (["inference", "-e", "x", "-i", "y"], "Missing option '-r'"),
    ],
)
def test_misused_flags(arguments: list[str], message: str) -> None:
    outcome = qatkit(*arguments)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith(f"error: {message}")


def test_no_arguments() -> None:
    outcome = qatkit()
    assert outcome.code == 2
    assert all(name in outcome.err + outcome.out for name in cli._SUBCOMMANDS)


def test_help_and_version() -> None:
    assert qatkit("--version").out.split() == ["qatkit,", "version", package.__version__]
    for flag in ("-h", "--help"):
        outcome = qatkit(flag)
        assert outcome.code == 0
        assert all(name in outcome.out for name in cli._SUBCOMMANDS)


@pytest.mark.parametrize("name", sorted(cli._SUBCOMMANDS))
def test_help_of_every_subcommand(name: str) -> None:
    outcome = qatkit(name, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: qatkit {name} [OPTIONS]")


def imported_by(program: str) -> set[str]:
    """The heavy libraries that a program has imported in a process of its own, as its last line says."""
    program += "\nimport sys; print({'tensorflow', 'tf_keras', 'numpy', 'onnxruntime', 'sklearn'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    found = run.stdout.splitlines()[-1]
    return set() if found == "set()" else set(found.strip("{}").replace("'", "").split(", "))


def test_the_command_line_is_light() -> None:
    helps = "".join(f"\nassert cli._run([{name!r}, '--help']) == 0" for name in cli._SUBCOMMANDS)
    assert imported_by(f"from qatkit import cli{helps}") == set()


def test_a_spec_error_does_not_wait_for_tensorflow(tmp_path: Path) -> None:
    spec = tmp_path / "spec.txt"
    spec.write_text("training_config { num_epoch: 3 }")
    flags = {"train": ("-r", "x"), "evaluate": ("-m", "x"), "compare": ("-m", "x", "-o", "x")}
    runs = [f"assert cli._run({[name, '-e', str(spec), *more]!r}) == 2" for name, more in flags.items()]
    assert imported_by("\n".join(["from qatkit import cli", *runs])) <= {"numpy"}
