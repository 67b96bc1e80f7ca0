"""`status.json`: one JSON object per line and event, with TAO's keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qatkit.errors import EnvironmentProblem, QatkitError
from qatkit.files import make_directory, reason


class StatusLog:
    """Appends events to `<directory>/status.json`; with no directory it does nothing.

    Unlike TAO, a line carries only its own values: nothing is repeated from earlier lines.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = make_directory(directory) / "status.json" if directory else None
        self.outcome: dict[str, Any] = {}

    def succeed(self, **values: Any) -> None:
        """Give what the SUCCESS line is to hold (kpi, categorical), when the command ends."""
        self.outcome = values

    def write(self, status: str, message: str = "", **values: Any) -> None:
        """Append one line. `status` is STARTED, RUNNING, SUCCESS, FAILURE or SKIPPED."""
        if self._path is None:
            return
        now = time.localtime()
        line = {
            "date": f"{now.tm_mon}/{now.tm_mday}/{now.tm_year}",
            "time": f"{now.tm_hour}:{now.tm_min}:{now.tm_sec}",
            "status": status,
            "verbosity": "INFO" if status != "FAILURE" else "ERROR",
        }
        if message:
            line["message"] = message
        try:
            _append(self._path, json.dumps({**line, **values}) + "\n")
        except OSError as error:
            raise EnvironmentProblem(f"{self._path}: cannot write: {reason(error)}") from error


def _append(path: Path, text: str) -> None:
    """Whole, or not at all: a disk may take the first half of a line."""
    with path.open("ab", buffering=0) as file:
        before, data = file.tell(), text.encode()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(before)
            raise


@contextmanager
def run(command: str, directory: Path | None) -> Iterator[StatusLog]:
    """Around the work of a command: STARTED, then SUCCESS, or FAILURE for whatever ends it early.

    An interrupt is a failure too; all errors pass on. directory: of status.json, which is not written without one.
    """
    log = StatusLog(directory)
    log.write("STARTED", f"{command} started.")
    try:
        yield log
    except BaseException as error:
        with suppress(EnvironmentProblem):  # the failure itself may be a full disk
            log.write("FAILURE", _reason(error))
        raise
    log.write("SUCCESS", f"{command} finished.", **log.outcome)


def _reason(error: BaseException) -> str:
    if isinstance(error, QatkitError):
        return str(error)
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else "interrupted"
