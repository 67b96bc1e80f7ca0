"""The command line: `qatkit SUBCOMMAND`. Subcommands are imported when they run, so that --help is quick."""

from __future__ import annotations

import errno
import importlib
import io
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

import qatkit
from qatkit.errors import QatkitError, UsageError

# What the machine lacks, whatever the program was doing: space, quota, file handles, memory, a sound disk.
_MACHINE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG)
)
_SUBCOMMANDS = {
    "check": "Validate specs and look at their data, before anything runs.",
    "dataset_convert": "Convert KITTI or COCO labels to TFRecords.",
    "train": "Train a detector, or retrain a pruned one with quantization-aware training.",
    "prune": "Remove the channels with the smallest norms.",
    "evaluate": "Average precision of a .tlt, .onnx or .engine model, INT8 included.",
    "export": "Write ONNX, INT8 calibration cache, Q/DQ ONNX and DeepStream files.",
    "calibration_tensorfile": "Write calibration images to a TensorFile for export.",
    "converter": "Build a TensorRT engine from ONNX, where TensorRT is installed.",
    "inference": "Detect objects in images: annotated images and KITTI labels.",
    "compare": "FP32, INT8 by PTQ and INT8 by QAT side by side.",
}


# Words of TAO's command lines that are no subcommands here, and what takes their place.
_ELSEWHERE = {
    "model": "tao model detectnet_v2 X becomes qatkit X",
    "detectnet_v2": "tao detectnet_v2 X becomes qatkit X",
    "gen_trt_engine": "qatkit converter MODEL.onnx -e ENGINE builds engines, qatkit export --engine_file too",
}


class _Subcommands(click.Group):
    """Knows the names and help lines of all subcommands, imports `qatkit.cli.<name>` only for the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            raise UsageError(f"qatkit {cmd_name}: there is no such subcommand", hint=_ELSEWHERE[cmd_name])
        if cmd_name not in _SUBCOMMANDS:
            return None
        module = importlib.import_module(f"qatkit.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUBCOMMANDS.items()))


@click.group(cls=_Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(qatkit.__version__, prog_name="qatkit")
def _group() -> None:
    """The TAO DetectNet_v2 workflow: convert, train, prune, retrain with QAT, evaluate, export INT8."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with the exit code of what happened."""
    # Pillow's words on odd EXIF data and the like name no file; what cannot be read is an error that does.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold what no encoding can write
    sys.exit(_run(arguments))


class _Terminated(BaseException):
    """SIGTERM: the machine is going down, or a scheduler wants it back."""


def _run(arguments: list[str] | None) -> int:
    try:
        with _terminable():
            _group.main(args=arguments, prog_name="qatkit", standalone_mode=False)
    except QatkitError as error:
        return _fail(str(error), error.exit_code)
    except click.ClickException as error:
        return _misused(error)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except _Terminated:
        return _fail("terminated", 143)
    except Exception as error:
        return _unforeseen(error)
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as an exception, so that temporary files are removed and locks released."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _misused(error: click.ClickException) -> int:
    """A flag or subcommand that does not exist, lacks its value or is missing."""
    # Of click 8.2 and newer: there is no subcommand, this is the help.
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "qatkit"
    return _fail(f"{message.rstrip('.')} ({path} --help lists what there is)", 2)


def _unforeseen(error: Exception) -> int:
    """Errors that no package made a QatkitError of: the machine's, with a line; ours, with the traceback."""
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror), 5)
    if _out_of_memory(error):
        advice = "use a smaller batch_size_per_gpu (-b), a smaller output_image_width and _height, or a pruned model"
        return _fail(f"out of memory ({advice})", 5)
    traceback.print_exception(error)
    found = f"{type(error).__name__}: {error}".splitlines()[0]
    return _fail(f"this is a bug in qatkit {qatkit.__version__}: {found} (please report it with the lines above)", 1)


def _out_of_memory(error: Exception) -> bool:
    """Python's own error, TensorFlow's by its name (to import TensorFlow for this takes seconds), ONNX Runtime's."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "ResourceExhaustedError"}) or "Failed to allocate memory" in str(error)


def _fail(message: str, code: int) -> int:
    click.secho(f"error: {message}", err=True, fg="red")
    return code
