"""The command line: `qatkit SUBCOMMAND`. Subcommands are imported when they run, so that --help is quick."""

from __future__ import annotations

import importlib
import sys

import click

import qatkit
from qatkit.errors import QatkitError

_SUBCOMMANDS = {
    "dataset_convert": "Convert KITTI or COCO labels to TFRecords.",
    "train": "Train a detector, or retrain a pruned one with quantization-aware training.",
    "prune": "Remove the channels with the smallest norms.",
    "evaluate": "Average precision of a .tlt or .onnx model, INT8 included.",
    "export": "Write ONNX, INT8 calibration cache, Q/DQ ONNX and DeepStream files.",
    "inference": "Detect objects in images: annotated images and KITTI labels.",
    "compare": "FP32, INT8 by PTQ and INT8 by QAT side by side.",
}


class _Subcommands(click.Group):
    """Knows the names and help lines of all subcommands, imports `qatkit.cli.<name>` only for the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
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
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        _group.main(args=arguments, prog_name="qatkit", standalone_mode=False)
    except QatkitError as error:
        return _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except MemoryError:
        return _fail("out of memory (use smaller images or a smaller batch)", 5)
    return 0


def _fail(message: str, code: int) -> int:
    click.secho(f"error: {message}", err=True, fg="red")
    return code
