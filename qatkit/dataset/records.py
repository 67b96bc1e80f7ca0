"""TAO's record files, without TensorFlow: written with all of their keys; read for what training needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from qatkit.choices import Exif
from qatkit.dataset.example import Feature, Kind, parse_example, serialize_example
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
_LARGEST = np.iinfo(np.int32).max


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
    found = []
    for number, data in enumerate(read_record_file(path)):
        try:
            found.append(_record(data))
        except ValueError as error:
            raise DataError(f"{path}: record {number} does not describe an image with boxes: {error}") from None
    return concatenate(found)


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


def _record(data: bytes) -> Records:
    """One record. Raises ValueError, whose message says what is wrong."""
    features = parse_example(data, _KINDS)
    frame = _text(_single(features, "frame/id"), "frame/id")
    names = [_text(name, "target/object_class") for name in _values(features, "target/object_class")]
    columns = [_values(features, key) for key in _COORDINATES]
    for key, column in zip(_COORDINATES, columns):
        if len(column) != len(names):
            raise ValueError(f"{frame!r} has not one {key} for each object")
    boxes = np.stack(columns, axis=1) if names else np.empty((0, 4), np.float32)
    if not np.isfinite(boxes).all():
        raise ValueError(f"{frame!r} has a coordinate that is no number")
    size = np.array([[_pixels(features, "frame/width"), _pixels(features, "frame/height")]], np.int32)
    extension, exif = _optional(features, EXTENSION), _optional(features, EXIF)
    if exif not in ("", *get_args(Exif)):
        raise ValueError(f"{frame!r} has {EXIF} {exif!r}, which this version does not know")
    return Records(
        (frame,), size, np.array([len(names)]), boxes, tuple(names), (extension,), np.array([exif == "apply"])
    )


def _values(features: dict[str, Feature], key: str) -> Any:
    """The values of `key`; a key that is not there has none, as TensorFlow reads it."""
    feature = features.get(key)
    if feature is None or not len(feature.values):
        return []
    if feature.kind != _KINDS[key]:
        raise ValueError(f"{key} holds {feature.kind}, not {_KINDS[key]}")
    return feature.values


def _optional(features: dict[str, Feature], key: str) -> str:
    return _text(_single(features, key), key) if len(_values(features, key)) else ""


def _single(features: dict[str, Feature], key: str) -> Any:
    values = _values(features, key)
    if len(values) != 1:
        raise ValueError(f"it has {len(values)} values of {key} instead of one")
    return values[0]


def _pixels(features: dict[str, Feature], key: str) -> int:
    value = int(_single(features, key))
    if not 0 <= value <= _LARGEST:
        raise ValueError(f"{key} is {value}")
    return value


def _text(value: bytes, key: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{key} is not UTF-8 text") from None


def write_records(path: Path, records: Iterable[Mapping[str, Values]]) -> int:
    """Write `records` to `path`, overwriting it; return how many there were.

    Each record maps TAO's keys to values. The key decides how they are stored (bytes, int64 or float), because an
    empty list cannot say. Raises EnvironmentProblem when the file system refuses.
    """
    examples = ({key: _to_feature(key, values) for key, values in record.items()} for record in records)
    return write_record_file(path, map(serialize_example, examples))


def _to_feature(key: str, values: Values) -> Feature:
    if key in _TEXT_KEYS:
        return Feature("bytes", [str(value).encode() for value in values])
    if key in _INTEGER_KEYS:
        return Feature("int64", np.asarray(values, np.int64))
    return Feature("float", np.asarray(values, np.float32))
