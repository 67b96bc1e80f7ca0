"""Options that several commands share: names, types, defaults and help texts, each once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

import click

from qatkit.choices import CALIBRATOR, CalibratorName, DataType, Placement

if TYPE_CHECKING:
    from qatkit.engine.tensorrt.plan import BatchProfile, EngineOptions

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """Adds options to the function of a command."""

    def __call__(self, command: F, /) -> F: ...


FILE = click.Path(path_type=Path)
AT_LEAST_ONE = click.IntRange(min=1)

key = click.option("-k", "--key", default="", help="Pass-phrase of the model files; none = not encrypted.")
batch_size = click.option(
    "-b", "--batch_size", type=AT_LEAST_ONE, help="Images per batch; default: that of the spec."
)
cal_cache_file = click.option(
    "--cal_cache_file", type=FILE, help="Calibration cache: the float .onnx runs as INT8 with it."
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


def experiment_spec(name: str = "--experiment_spec", *, help: str, required: bool = True) -> Decorator:
    """The spec of training and evaluation."""
    return file("-e", name, required=required, help=f"Experiment spec{help}.")


def model(name: str = "--model", *more: str, help: str, **flags: Any) -> Decorator:
    """A model file. help: which kinds."""
    return file("-m", name, *more, help=f"Model{help}.", **flags)


def results_dir(*names: str) -> Decorator:
    """A folder for the events of the command, which has its results elsewhere."""
    return file(*(names or ("--results_dir",)), help="Folder for status.json.")


def verbose(help: str, name: str = "--verbose", *more: str) -> Decorator:
    """-v. help: what is told then."""
    return click.option("-v", name, *more, is_flag=True, help=help)


def calibrator(name: str = "--calibrator", *, help: str) -> Decorator:
    """How ranges are found."""
    return choice(name, values=CalibratorName, default=CALIBRATOR, help=help)


def placement(help: str) -> Decorator:
    """Whose rule says which tensors are quantized."""
    return choice("--qdq_placement", values=Placement, default="tensorrt", help=help)


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
        command = click.option("-s", "--strict_type_constraints", is_flag=True, help=strict)(command)
        return click.option(*workspace.split(), "max_workspace_size", type=int, help=gigabytes)(command)

    return decorate


def engine_options(flags: dict[str, Any], batch: BatchProfile) -> EngineOptions:
    """Of `engine_building` and --data_type. Raises UsageError for flags that contradict each other."""
    from qatkit.engine.tensorrt.plan import DEFAULT_WORKSPACE, EngineOptions

    workspace = flags["max_workspace_size"]
    return EngineOptions(
        data_type=flags["data_type"],
        workspace=DEFAULT_WORKSPACE if workspace is None else workspace,
        batch=batch,
        dla_core=flags["dla_core"],
        strict=flags["strict_type_constraints"],
    )
