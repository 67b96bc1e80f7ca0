"""One process at a time in a results folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from qatkit.errors import EnvironmentProblem
from qatkit.files import check_writable

_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)


@dataclass(frozen=True)
class Holder:
    """A process. boot: of which start of the machine; began: clock ticks since then, "" where nothing tells.

    Both, because process ids are given again.
    """

    pid: int
    host: str
    boot: str = ""
    began: str = ""

    @classmethod
    def this(cls) -> Holder:
        return cls(os.getpid(), socket.gethostname(), _boot(), _began(os.getpid()))

    @classmethod
    def read(cls, file: FileIO) -> Holder | None:
        """The one that wrote itself into a lock; None where nobody did, or nobody is to be made out."""
        file.seek(0)
        try:
            return cls(**json.loads(file.read()))
        except (ValueError, TypeError):
            return None

    def write(self, file: FileIO) -> None:
        file.truncate(0)
        file.write(json.dumps(asdict(self)).encode() + b"\n")

    def may_be_alive(self) -> bool:
        """Nobody can tell of other machines; of this one, a process that began when this one did."""
        if self.host != socket.gethostname():
            return True
        return bool(self.began) and (self.boot, self.began) == (_boot(), _began(self.pid))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def locked(directory: Path) -> Iterator[Path]:
    """Create `directory`, prove it writable, and keep other runs out of it; the lock goes with the process.

    Raises EnvironmentProblem when it cannot be written, or another run holds it.
    """
    check_writable(directory)
    path = directory / ".lock"
    try:
        file = path.open("ab+", buffering=0)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot write: {error.strerror}") from error
    with file:
        _take(file, path)
        with suppress(OSError):  # a full disk: the lock itself needs no space, and a short run may fit
            Holder.this().write(file)
        try:
            yield directory
        finally:
            with suppress(OSError):
                file.truncate(0)


def _take(file: FileIO, path: Path) -> None:
    """The kernel's lock, which ends with its process; where the file system has none, the name in the file."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = Holder.read(file)
        if error.errno in _TAKEN:
            raise _refusal(path, holder) from error
        if holder is not None and holder.may_be_alive():
            raise _refusal(path, holder, f"; if it has ended, remove {path}") from error


def _refusal(path: Path, holder: Holder | None, more: str = "") -> EnvironmentProblem:
    who = f" ({holder})" if holder else ""
    return EnvironmentProblem(f"{path.parent}: another run is writing here{who}", hint=f"use another -r{more}")


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _began(pid: int) -> str:
    """When a process began; "" where there is none."""
    with suppress(OSError, IndexError):
        # The second field, the program's name, may hold anything; behind it the 20th from there is the time.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
