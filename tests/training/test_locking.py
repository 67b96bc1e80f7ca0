from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from qatkit.errors import EnvironmentProblem
from qatkit.training.locking import Holder, locked
from tests.support.commands import ROOT

HOLD = """
import sys
from pathlib import Path
from qatkit.training.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=20)


def test_the_second_run_is_told_who_is_there_and_takes_over_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    process = holding(folder)
    try:
        message = (
            rf"new: another run is writing here \(process {process.pid} on {socket.gethostname()}\) \(use another"
        )
        for _ in range(2):  # who is refused changes nothing
            with pytest.raises(EnvironmentProblem, match=message), locked(folder):
                pass
    finally:
        end(process)
    with locked(folder) as found:
        assert found == folder
        assert Holder(**json.loads((folder / ".lock").read_text())) == Holder.this()
    with locked(folder):
        pass


def test_a_lock_that_names_nobody(tmp_path: Path) -> None:
    """Of a version that wrote nothing into it."""
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(EnvironmentProblem, match=r"another run is writing here \(use another -r\)"),
            locked(tmp_path),
        ):
            pass


def test_a_full_disk_does_not_keep_a_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Holder, file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Holder, "write", full)
    with locked(tmp_path):
        pass


THIS = Holder.this()


@pytest.mark.parametrize(
    "holder, refused",
    [
        (THIS, True),
        (replace(THIS, boot="of yesterday"), False),  # the machine was started since
        (replace(THIS, began="1"), False),  # the process id was given again
        (replace(THIS, pid=2**22 + 1), False),  # no such process
        (replace(THIS, host="elsewhere"), True),  # nobody can tell
        (None, False),
    ],
)
def test_where_a_file_system_knows_no_locks_the_name_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: Holder | None, refused: bool
) -> None:
    def unknown(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    (tmp_path / ".lock").write_text(json.dumps(asdict(holder)) if holder else "")
    if refused:
        message = rf"\(process {holder and holder.pid} on .*; if it has ended, remove .*\.lock\)"
        with pytest.raises(EnvironmentProblem, match=message), locked(tmp_path):
            pass
        return
    with locked(tmp_path):
        assert Holder(**json.loads((tmp_path / ".lock").read_text())) == THIS


@pytest.mark.parametrize(
    "content", ["", "17", "[]", "{}", '{"pid": 1}', "half a l", '{"pid": 1, "host": "a", "x": 1}']
)
def test_what_names_nobody(tmp_path: Path, content: str) -> None:
    path = tmp_path / ".lock"
    path.write_text(content)
    with path.open("ab+", buffering=0) as file:
        assert Holder.read(file) is None


def test_a_folder_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"\.lock: cannot write: Is a directory"), locked(tmp_path):
        pass


def test_it_is_released_though_a_child_lives_on(tmp_path: Path) -> None:
    """What a run starts must not hold the lock after its end."""
    with locked(tmp_path):
        child = multiprocessing.get_context("spawn").Process(target=os.getpid)
        child.start()
    try:
        with locked(tmp_path):
            pass
    finally:
        child.join()
