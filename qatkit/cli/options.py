"""Options that several commands share: names, types, defaults and help texts, each once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args

import click

from qatkit.choices import CALIBRATOR, CalibratorName, DataType, Placement

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Decorator(Protocol):
    """Adds options to the function of a command."""

    def __call__(self, command: F, /) -> F: ...


FILE = click.Path(path_type=Path)
_AT_LEAST_ONE = click.IntRange(min=1)

key = click.option("-k", "--key", default="", help="Pass-phrase of the model files; none = not encrypted.")
batch_size = click.option(
    "-b", "--batch_size", type=_AT_LEAST_ONE, help="Images per batch; default: that of the spec."
)
cal_cache = click.option(
    "--cal_cache_file", "cal_cache", type=FILE, help="Calibration cache: the float .onnx runs as INT8 with it."
)


def data_type(*short: str) -> Decorator:
    """Of the deployed network."""
    return click.option(
        *short, "--data_type", type=click.Choice(get_args(DataType)), default="fp32", show_default=True
    )


def file(*names: str, help: str, **more: Any) -> Decorator:
    """A file or folder."""
    return click.option(*names, type=FILE, help=help, **more)


def choice(*names: str, values: Any, help: str, **more: Any) -> Decorator:
    """One of the names of `values`, a Literal of `qatkit.choices`; the default is shown."""
    return click.option(*names, type=click.Choice(get_args(values)), help=help, show_default=True, **more)


def count(*names: str, default: int, help: str) -> Decorator:
    """A number from 1 on; the default is shown."""
    return click.option(*names, type=_AT_LEAST_ONE, default=default, show_default=True, help=help)


def experiment_spec(name: str = "--experiment_spec", *, help: str, required: bool = True) -> Decorator:
    """The spec of training and evaluation."""
    return file("-e", name, "spec", required=required, help=f"Experiment spec{help}.")


def model(name: str = "--model", *, help: str, **more: Any) -> Decorator:
    """A model file. help: which kinds."""
    return file("-m", name, "model", help=f"Model{help}.", **more)


def results_dir(*names: str) -> Decorator:
    """A folder for the events of the command, which has its results elsewhere."""
    return file(*(names or ("--results_dir",)), help="Folder for status.json.")


def verbose(help: str, name: str = "--verbose", *more: str) -> Decorator:
    """-v. help: what is told then."""
    return click.option("-v", name, *more, is_flag=True, help=help)


def calibrator(name: str = "--calibrator", *, help: str) -> Decorator:
    """How ranges are found."""
    return choice(name, "calibrator", values=CalibratorName, default=CALIBRATOR, help=help)


def placement(help: str) -> Decorator:
    """Whose rule says which tensors are quantized."""
    return choice("--qdq_placement", "placement", values=Placement, default="tensorrt", help=help)


def skip_layers(kind: str) -> Decorator:
    """Layers that are not quantized."""
    return click.option("--skip_layers", multiple=True, help=f"{kind}: layers that stay float (may be repeated).")


def tao_compat(help: str) -> Decorator:
    """Numbers to compare with TAO's."""
    return click.option("--tao_compat", is_flag=True, help=help)


def engine_building(workspace: str, core: str, *, when: str = "") -> Decorator:
    """How a TensorRT engine is built. workspace, core: names of two of the flags. when: what texts begin with."""

    def decorate(command: F) -> F:
        gigabytes = f"{when}Bytes of GPU memory to build with.  [default: 2 GB]"
        strict = f"{when}INT8 without FP16 where it is quicker."
        dla = f"{when}For this deep learning accelerator."
        command = click.option(*core.split(), "dla_core", type=click.IntRange(min=0), help=dla)(command)
        command = click.option("-s", "--strict_type_constraints", "strict", is_flag=True, help=strict)(command)
        return click.option(*workspace.split(), "workspace", type=int, help=gigabytes)(command)

    return decorate


def build(kind: Callable[..., T], flags: Mapping[str, Any], **more: Any) -> T:
    """A value of the dataclass `kind`: each field from `more` or from the flag called like it.

    A field has its own default where the flag is not given (None, or empty).
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: flags[name] for name in names if flags.get(name) not in (None, "")} | more)
