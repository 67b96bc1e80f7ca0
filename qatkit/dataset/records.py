"""TAO's record files, without TensorFlow: written with all of their keys; read for what training needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from qatkit.choices import Exif
from qatkit.dataset.example import Kind, parse_example, serialize_example
from qatkit.dataset.record_file import read_record_file, write_record_file
from qatkit.errors import DataError

Values: TypeAlias = Sequence[str] | Sequence[int] | Sequence[float]

# Two keys that TAO does not have, written only where they are needed: how a file's name goes on behind the id, where
# that is not the same for all images; that boxes are those of the picture turned as its EXIF data say ("apply").
EXTENSION = "frame/extension"
EXIF = "frame/exif"

_COORDINATES = tuple(f"target/coordinates_{name}" for name in ("x1", "y1", "x2", "y2"))
_KINDS: dict[str, Kind] = {
    "frame/id": "bytes",
    "frame/width": "int64",
    "frame/height": "int64",
    "target/object_class": "bytes",
    EXTENSION: "bytes",
    EXIF: "bytes",
    **dict.fromkeys(_COORDINATES, "float"),
}
_TEXT_KEYS = frozenset({"frame/id", "target/object_class", "point_cloud/id", EXTENSION, EXIF})
_INTEGER_KEYS = frozenset({"frame/height", "frame/width", "target/occlusion"})
_EXIF = ("", *get_args(Exif))
_LARGEST = np.iinfo(np.int32).max
_AT_ONCE = 8192  # records that are lists of values at one time


@dataclass(frozen=True, eq=False)
class Records:
    """N records with M objects in all.

    sizes: int32 [N, 2], width and height in pixels. counts: int64 [N], objects per record.
    boxes: float32 [M, 4], x1 y1 x2 y2 in pixels. class_names: [M] as stored.
    extensions: [N], how the names of the files go on behind the ids (".jpg"), "" where the spec says so. upright:
    bool [N], whether the pictures are turned as their EXIF data say.
    """

    ids: tuple[str, ...]
    sizes: NDArray[np.int32]
    counts: NDArray[np.int64]
    boxes: NDArray[np.float32]
    class_names: tuple[str, ...]
    extensions: tuple[str, ...]
    upright: NDArray[np.bool_]


def read_records(path: Path) -> Records:
    """All records of one file, in order. A file of no bytes holds no records.

    Raises DataError when the file is no TFRecord file, is damaged, or lacks TAO's keys.
    """
    parts: list[Records] = []
    records = read_record_file(path)
    while some := list(islice(records, _AT_ONCE)):
        columns = _Columns()
        for number, data in enumerate(some, start=_AT_ONCE * len(parts)):
            try:
                columns.add(data)
            except ValueError as error:
                message = f"{path}: record {number} does not describe an image with boxes: {error}"
                raise DataError(message) from None
        parts.append(columns.records())
    return concatenate(parts)


def concatenate(parts: Sequence[Records]) -> Records:
    """The records of all `parts`, one after the other."""
    return Records(
        ids=tuple(frame for part in parts for frame in part.ids),
        sizes=np.concatenate([np.empty((0, 2), np.int32), *(part.sizes for part in parts)]),
        counts=np.concatenate([np.empty(0, np.int64), *(part.counts for part in parts)]),
        boxes=np.concatenate([np.empty((0, 4), np.float32), *(part.boxes for part in parts)]),
        class_names=tuple(name for part in parts for name in part.class_names),
        extensions=tuple(extension for part in parts for extension in part.extensions),
        upright=np.concatenate([np.empty(0, np.bool_), *(part.upright for part in parts)]),
    )


class _Columns:
    """Records as lists of values, which take more memory than arrays and less time to add to."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._sizes: list[tuple[int, int]] = []
        self._counts: list[int] = []
        self._boxes: list[tuple[float, ...]] = []
        self._names: list[str] = []
        self._extensions: list[str] = []
        self._upright: list[bool] = []
        self._known: dict[bytes, str] = {}  # class names, which are few

    def add(self, data: bytes) -> None:
        """One record. Raises ValueError, whose message says what is wrong."""
        values = parse_example(data, _KINDS)
        frame = _text(_single(values, "frame/id"), "frame/id")
        names = values["target/object_class"]
        columns = [values[key] for key in _COORDINATES]
        for key, column in zip(_COORDINATES, columns):
            if len(column) != len(names):
                raise ValueError(f"{frame!r} has not one float {key} for each object")
        exif = _text(b"".join(values[EXIF]), EXIF)
        if exif not in _EXIF:
            raise ValueError(f"{frame!r} has {EXIF} {exif!r}, which this version does not know")
        boxes = list(zip(*columns))
        if not all(map(math.isfinite, chain(*boxes))):
            raise ValueError(f"{frame!r} has a coordinate that is no number")
        self._sizes.append((_pixels(values, "frame/width"), _pixels(values, "frame/height")))
        self._ids.append(frame)
        self._counts.append(len(names))
        self._boxes += boxes
        self._names += [self._known.get(name) or self._know(name) for name in names]
        self._extensions.append(_text(b"".join(values[EXTENSION]), EXTENSION))
        self._upright.append(exif == "apply")

    def _know(self, name: bytes) -> str:
        self._known[name] = _text(name, "target/object_class")
        return self._known[name]

    def records(self) -> Records:
        """What was added."""
        return Records(
            ids=tuple(self._ids),
            sizes=np.array(self._sizes, np.int32).reshape(-1, 2),
            counts=np.array(self._counts, np.int64),
            boxes=np.array(self._boxes, np.float32).reshape(-1, 4),
            class_names=tuple(self._names),
            extensions=tuple(self._extensions),
            upright=np.array(self._upright, np.bool_),
        )


def _single(values: Mapping[str, list[Any]], key: str) -> Any:
    found = values[key]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} {_KINDS[key]} values of {key} instead of one")
    return found[0]


def _pixels(values: Mapping[str, list[Any]], key: str) -> int:
    value = int(_single(values, key))
    if not 0 <= value <= _LARGEST:
        raise ValueError(f"{key} is {value}")
    return value


def _text(value: bytes, key: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{key} is not UTF-8 text") from None


def write_records(path: Path, records: Iterable[Mapping[str, Values]], *, known_as: Path | None = None) -> int:
    """Write `records` to `path`, overwriting it; return how many there were.

    Each record maps TAO's keys to values. The key decides how they are stored (bytes, int64 or float), because an
    empty list cannot say. known_as: as in `write_record_file`. Raises EnvironmentProblem when the disk refuses.
    """
    examples = ({key: (_kind(key), _stored(key, values)) for key, values in record.items()} for record in records)
    return write_record_file(path, map(serialize_example, examples), known_as)


def _kind(key: str) -> Kind:
    return "bytes" if key in _TEXT_KEYS else "int64" if key in _INTEGER_KEYS else "float"


def _stored(key: str, values: Values) -> Sequence[Any]:
    return [str(value).encode() for value in values] if key in _TEXT_KEYS else values
