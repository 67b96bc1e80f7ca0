"""The errors that a user can cause, each with the exit code of its kind."""

from __future__ import annotations


class QatkitError(Exception):
    """An error with one line for the user: what is wrong, where, and what would be right.

    `hint` is appended to the line. The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)


class UsageError(QatkitError):
    """Flags that contradict each other or the spec."""

    exit_code = 2


class SpecError(QatkitError):
    """A spec file that cannot be read, or whose values make no sense."""

    exit_code = 2


class DataError(QatkitError):
    """Images, labels or records that are missing or damaged."""

    exit_code = 3


class ModelError(QatkitError):
    """A model file that is missing, damaged, of another kind, or encrypted with another key."""

    exit_code = 4


class EnvironmentProblem(QatkitError):  # noqa: N818 - "EnvironmentError" is Python's own alias of OSError
    """Something the machine lacks: a GPU, TensorRT, space, memory, a writable folder."""

    exit_code = 5


class DivergedError(QatkitError):
    """Training produced a loss, a weight or a range that is not a number."""

    exit_code = 6


class StoppedError(QatkitError):
    """A signal ended the work in order; the exit code is 128 and its number, as shells have it."""

    def __init__(self, number: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + number


class GateError(QatkitError):
    """A quality gate (`--min_map`, `--max_drop`) that was not met."""

    exit_code = 7
