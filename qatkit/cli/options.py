"""Options that several commands share: names, types, defaults and help texts, each once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from qatkit.choices import CALIBRATOR, EXIF, MAX_MEGAPIXELS, PLACEMENT, CalibratorName, DataType, Exif, Placement

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


FILE = click.Path(path_type=Path)
_AT_LEAST_ONE = click.IntRange(min=1)

key = click.option("-k", "--key", default="", help="Pass-phrase of the model files; none = not encrypted.")
batch_size = click.option(
    "-b", "--batch_size", type=_AT_LEAST_ONE, help="Images per batch; default: that of the spec."
)
cal_cache = click.option(
    "--cal_cache_file", "cal_cache", type=FILE, help="Calibration cache: the float .onnx runs as INT8 with it."
)


max_megapixels = click.option(
    "--max_megapixels",
    type=click.FloatRange(min=0, min_open=True),
    callback=lambda context, parameter, given: _limit_pixels(given),
    expose_value=False,
    help=f"Refuse larger pictures.  [default: {MAX_MEGAPIXELS}]",
)
no_decode = click.option(
    "--no_decode",
    "decode",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Read only the headers of pictures: quick, but a picture that is cut off is not noticed.",
)


def exif(help: str) -> Callable[[F], F]:
    """Whether pixels are turned. help: which pictures."""
    text = f"{help}: apply turns pixels as EXIF data say, and boxes are of the picture as shown; ignore is TAO's way."
    return choice("--exif", values=Exif, default=EXIF, help=text)


def data_type(*short: str) -> Callable[[F], F]:
    """Of the deployed network."""
    return choice(*short, "--data_type", values=DataType, default="fp32")


def file(*names: str, help: str, **more: Any) -> Callable[[F], F]:
    """A file or folder."""
    return click.option(*names, type=FILE, help=help, **more)


def flag(*names: str, help: str) -> Callable[[F], F]:
    """Given or not."""
    return click.option(*names, is_flag=True, help=help)


def value(*names: str, **more: Any) -> Callable[[F], F]:
    """A value whose default the help shows."""
    return click.option(*names, show_default=True, **more)


def choice(*names: str, values: Any, **more: Any) -> Callable[[F], F]:
    """One of the names of `values`, a Literal of `qatkit.choices`."""
    return value(*names, type=click.Choice(get_args(values)), **more)


def count(*names: str, default: int, help: str) -> Callable[[F], F]:
    """A number from 1 on."""
    return value(*names, type=_AT_LEAST_ONE, default=default, help=help)


def experiment_spec(name: str = "--experiment_spec", *, help: str, required: bool = True) -> Callable[[F], F]:
    """The spec of training and evaluation."""
    return file("-e", name, "spec", required=required, help=f"Experiment spec{help}.")


def model(name: str = "--model", *, help: str, **more: Any) -> Callable[[F], F]:
    """A model file. help: which kinds."""
    return file("-m", name, "model", help=f"Model{help}.", **more)


def results_dir(*names: str) -> Callable[[F], F]:
    """A folder for the events of the command, which has its results elsewhere."""
    return file(*(names or ("--results_dir",)), help="Folder for status.json.")


def verbose(help: str, name: str = "--verbose", *more: str) -> Callable[[F], F]:
    """-v. help: what is told then."""
    return flag("-v", name, *more, help=help)


def calibrator(name: str = "--calibrator", *, help: str) -> Callable[[F], F]:
    """How ranges are found."""
    return choice(name, "calibrator", values=CalibratorName, default=CALIBRATOR, help=help)


def placement(help: str) -> Callable[[F], F]:
    """Whose rule says which tensors are quantized."""
    return choice("--qdq_placement", "placement", values=Placement, default=PLACEMENT, help=help)


def skip_layers(kind: str) -> Callable[[F], F]:
    """Layers that are not quantized."""
    return click.option("--skip_layers", multiple=True, help=f"{kind}: layers that stay float (may be repeated).")


def tao_compat(help: str) -> Callable[[F], F]:
    """Numbers to compare with TAO's."""
    return flag("--tao_compat", help=help)


def engine_building(workspace: str, core: str, *, when: str = "") -> Callable[[F], F]:
    """How a TensorRT engine is built. workspace, core: names of two of the flags. when: what texts begin with."""

    def decorate(command: F) -> F:
        gigabytes = f"{when}Bytes of GPU memory to build with.  [default: 2 GB]"
        strict = f"{when}INT8 without FP16 where it is quicker."
        dla = f"{when}For this deep learning accelerator."
        command = click.option(*core.split(), "dla_core", type=click.IntRange(min=0), help=dla)(command)
        command = flag("-s", "--strict_type_constraints", "strict", help=strict)(command)
        return click.option(*workspace.split(), "workspace", type=int, help=gigabytes)(command)

    return decorate


def is_given(name: str) -> bool:
    """Whether the flag of option `name` is on the command line that runs, rather than its default."""
    return click.get_current_context().get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def build(kind: Callable[..., T], flags: Mapping[str, Any], **more: Any) -> T:
    """A value of the dataclass `kind`: each field from `more` or from the flag called like it.

    A field has its own default where the flag is not given (None, or empty).
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: flags[name] for name in names if flags.get(name) not in (None, "")} | more)


def _limit_pixels(megapixels: float | None) -> None:
    """Of this command: a process may run several."""
    if megapixels is not None and not math.isfinite(megapixels):
        raise click.BadParameter(f"{megapixels} is not a finite number.")
    from qatkit.dataset.picture_file import limit_pixels

    limit_pixels(MAX_MEGAPIXELS if megapixels is None else megapixels)
