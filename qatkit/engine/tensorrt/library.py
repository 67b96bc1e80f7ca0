"""TensorRT and pycuda, imported when something needs them, and what is told where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from qatkit.engine.tensorrt.plan import Version, parse_version
from qatkit.errors import EnvironmentProblem


def load_tensorrt() -> tuple[Any, Version]:
    """The module tensorrt and its version. Raises EnvironmentProblem where it is missing, broken or too old."""
    trt = _load("tensorrt", "TensorRT")
    return trt, parse_version(trt.__version__)


def load_cuda() -> Any:
    """The module pycuda.driver, with the GPU's primary context current, the one that TensorRT works in.

    Raises EnvironmentProblem where pycuda or a GPU is missing.
    """
    _load("pycuda.autoprimaryctx", "pycuda")
    return importlib.import_module("pycuda.driver")


def _load(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(
            f"{what} is not installed here", hint="pip install 'qatkit[tensorrt]' on the machine with the GPU"
        ) from error
    except Exception as error:  # missing libraries, no driver, no device: pycuda has classes of its own for these
        raise EnvironmentProblem(f"{what} cannot be used here: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def new_log(trt: Any) -> Any:
    """A TensorRT logger that prints nothing and keeps the errors, the newest last, in `errors`."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            # Every trampoline class of the bindings must be initialized by name.
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


def last_error(log: Any) -> str:
    """What TensorRT complained of last, to be appended to a message."""
    return f": {log.errors[-1]}" if log.errors else ""


def create(factory: Any, log: Any) -> Any:
    """`factory(log)`: a Builder or a Runtime.

    Raises EnvironmentProblem where there is no GPU: the bindings then raise a TypeError or a RuntimeError.
    """
    try:
        return factory(log)
    except (TypeError, RuntimeError) as error:
        raise EnvironmentProblem(f"TensorRT finds no GPU that it can use{last_error(log)}") from error
