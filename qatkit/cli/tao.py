"""What TAO's launcher accepts with every subcommand, so that its command lines work unchanged."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from qatkit.errors import EnvironmentProblem, UsageError

# Flags that take any number of values after them, as Python's argparse does with nargs="*".
_MANY = ("-el", "--excluded_layers", "--gpu_index", "--skip_layers")


class TaoCommand(click.Command):
    """A subcommand with the launcher's flags: --gpus, --gpu_index, --num_processes, --use_amp, --log_file.

    A flag that the subcommand has itself stays its own. Flags may be cut short, as far as they remain clear.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = {parameter.name for parameter in self.params}
        self._common = [option for option in _common_options() if option.name not in own]
        self.params += self._common

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names = {name: str(option.name) for option in self.params for name in (*option.opts, *option.secondary_opts)}
        return super().parse_args(ctx, _one_value_each(_as_argparse(args, names)))

    def invoke(self, ctx: click.Context) -> Any:
        values = {option.name: ctx.params.pop(str(option.name)) for option in self._common}
        if (values.get("gpus") or 1) > 1 or values.get("use_amp"):
            raise UsageError(f"--gpus above 1 and --use_amp go with train, not with {self.name}")
        for name, given in (("--multi-node", values["multi_node"]), ("--mpirun-arg", values["mpirun_arg"])):
            if given:
                raise UsageError(
                    f"{name}: there is no MPI here", hint="TF_CONFIG lets several machines train together"
                )
        if (values["num_processes"] or 1) > 1:
            no_effect(f"--num_processes {values['num_processes']}", "one process works with all GPUs")
        if values["launch_cuda_blocking"]:
            os.environ["CUDA_LAUNCH_BLOCKING"] = "1"
        if values["gpu_index"]:
            # Before TensorFlow is imported, it then sees no other.
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(index) for index in sorted(set(values["gpu_index"])))
        if values["log_file"] is not None:
            _log_to(values["log_file"])
        return super().invoke(ctx)


def no_effect(flag: str, reason: str) -> None:
    """Tell the user that a flag of TAO is accepted, and why it changes nothing."""
    from qatkit.console import warn

    warn(f"{flag} has no effect: {reason}")


def _common_options() -> list[click.Option]:
    return [
        click.Option(["--gpus"], type=click.IntRange(min=1), hidden=True),
        click.Option(["--use_amp"], is_flag=True, hidden=True),
        click.Option(["-np", "--num_processes"], type=int, hidden=True),
        click.Option(["--multi-node"], is_flag=True, hidden=True),
        click.Option(["--mpirun-arg"], hidden=True),
        click.Option(["--launch_cuda_blocking"], is_flag=True, hidden=True),
        click.Option(["--gpu_index"], type=click.IntRange(min=0), multiple=True, help="GPUs to use, by number."),
        click.Option(["--log_file"], type=click.Path(path_type=Path), help="Append all output to this file."),
    ]


def _as_argparse(args: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Long flags cut short -> whole (`--experiment_spec` -> `--experiment_spec_file`), `-k=KEY` -> `-k KEY`.

    names: every spelling of a flag -> the option it belongs to. What fits several options stays as it is.
    """
    result: list[str] = []
    for argument in args:
        flag, equals, value = argument.partition("=")
        if flag in names and equals and len(flag) == 2:
            result += [flag, value]
            continue
        if flag.startswith("--") and len(flag) > 2 and flag not in names:
            fitting = [name for name in names if name.startswith(flag)]
            if len({names[name] for name in fitting}) == 1:
                flag = fitting[0]
        result.append(f"{flag}{equals}{value}")
    return result


def _one_value_each(args: Sequence[str]) -> list[str]:
    """`-el a b` -> `-el a -el b`."""
    expanded: list[str] = []
    flag = ""
    for argument in args:
        if argument in _MANY:
            flag = argument
        elif argument.startswith("-"):
            flag = ""
            expanded.append(argument)
        else:
            expanded += [flag, argument] if flag else [argument]
    return expanded


def _log_to(path: Path) -> None:
    """Send standard output and error to the end of `path`, those of native libraries too."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(file.fileno(), stream.fileno())
    except OSError as error:
        raise EnvironmentProblem(f"--log_file {path}: cannot write: {error.strerror}") from error
