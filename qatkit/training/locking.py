"""One process at a time in a results folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qatkit.errors import EnvironmentProblem
from qatkit.files import check_writable


@contextmanager
def locked(directory: Path) -> Iterator[Path]:
    """Create `directory`, prove it writable, and keep other runs out of it; the lock goes with the process.

    Raises EnvironmentProblem when it cannot be written, or another run holds it.
    """
    check_writable(directory)
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EnvironmentProblem(f"{directory}: another run is writing here", hint="use another -r") from error
        yield directory
