"""What tao-converter's flags say of a network, and whether it is that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.tensorrt.plan import BatchProfile
from qatkit.errors import UsageError

_SHAPE = re.compile(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)x([1-9]\d*)")


@dataclass(frozen=True)
class Expected:
    """What a command line says of the network, to be compared with it.

    dims: (channels, height, width). input: name of the input. outputs: names of the outputs. batches: how many images
    at once. None, "" and () where it says nothing; names with or without `:0`.
    """

    dims: tuple[int, int, int] | None = None
    input: str = ""
    outputs: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()


def parse_dims(text: str) -> tuple[int, int, int]:
    """`3,544,960` -> channels, height, width. Raises UsageError for text of another form."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"-d {text}: expected channels,height,width such as 3,544,960")
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def parse_profile(text: str) -> tuple[str, BatchProfile, tuple[int, int, int]]:
    """`input_1:0,1x3x544x960,4x3x544x960,8x3x544x960` -> input, batch sizes, (channels, height, width).

    Raises UsageError for text of another form, and for images that are not all of one size.
    """
    name, *shapes = text.split(",")
    found = [_SHAPE.fullmatch(shape) for shape in shapes]
    sizes = [tuple(int(part) for part in match.groups()) for match in found if match is not None]
    if not name or len(shapes) != 3 or len(sizes) != 3:
        raise UsageError(
            f"-p {text}: expected input,min,opt,max such as input_1:0,1x3x544x960,4x3x544x960,8x3x544x960"
        )
    if len({size[1:] for size in sizes}) != 1:
        raise UsageError(f"-p {text}: only the batch size can differ between the three")
    minimum, optimum, maximum = (size[0] for size in sizes)
    return name, BatchProfile(minimum, optimum, maximum), (sizes[0][1], sizes[0][2], sizes[0][3])


def check_network(file: OnnxFile, expected: Sequence[Expected]) -> None:
    """Raise UsageError when the network in `file` is not all that is `expected`."""
    onnx, source, outputs = file.path, file.graph.input, file.heads
    height, width, channels = file.input_shape
    for one in expected:
        if one.dims not in (None, (channels, height, width)):
            raise UsageError(f"{onnx} takes images {channels},{height},{width}, not {_listed(one.dims)}")
        if one.input and _bare(one.input) != _bare(source):
            raise UsageError(f"{onnx}: its input is {source}, not {one.input}")
        if one.outputs and {_bare(name) for name in one.outputs} != {_bare(name) for name in outputs}:
            raise UsageError(f"{onnx}: its outputs are {','.join(outputs)}, not {','.join(one.outputs)}")

        if file.batch and set(one.batches) - {file.batch}:
            wrong = next(size for size in one.batches if size != file.batch)
            raise UsageError(
                f"{onnx} takes exactly {file.batch} images at once, not {wrong}", hint="leave the batch size out"
            )


def _bare(name: str) -> str:
    return name.removesuffix(":0")


def _listed(dims: tuple[int, int, int] | None) -> str:
    return ",".join(str(size) for size in dims or ())
