"""Running the command line, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from qatkit.cli import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def qatkit(*arguments: object) -> Outcome:
    """Run a command in this process, where TensorFlow is imported once for all tests."""
    out, err = io.StringIO(), io.StringIO()
    code: object = "main() returned"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code
    assert isinstance(code, int), code
    return Outcome(code, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> Outcome:
    """Run a command that must end well."""
    outcome = qatkit(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own, where signals can reach it."""
    return subprocess.Popen(
        [sys.executable, "-m", "qatkit", *(str(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """`text` with each old part replaced by its new one; every old part must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text
