"""COCO annotation files: images, their boxes and the categories, every row checked."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from qatkit.dataset.json_file import read_json
from qatkit.dataset.kitti import LARGEST, KittiObject, LabelledObject
from qatkit.errors import DataError

T = TypeVar("T")
_Row = dict[str, Any]
_Box = tuple[float, float, float, float]

_MOST_PIXELS = 2**31 - 1
_ID = "a whole number or a text"
_SIZE = "a whole number of pixels, 1 or more"
_BBOX = "four numbers: x, y, width, height"


@dataclass(frozen=True)
class CocoImage:
    """One picture with its objects, in the order of the file; rows that name the same file are merged.

    width, height: in pixels, as the file has them.
    """

    file_name: str
    width: int
    height: int
    objects: tuple[LabelledObject, ...]


@dataclass(frozen=True)
class CocoFile:
    """One annotation file.

    categories: names without spaces, by id. images: by file name, in the order of the file.
    unlisted: annotations of images that are not listed, which are passed over.
    merged: rows of images that name a file again.
    """

    path: Path
    categories: dict[int, str]
    images: dict[str, CocoImage]
    unlisted: int
    merged: int


@dataclass(frozen=True)
class _Listed:
    """A row of `images`, with its id as text."""

    id: str
    file_name: str
    width: int
    height: int


class _Fault(Exception):  # noqa: N818 - caught here, and shown as a DataError
    """What is wrong with a row."""


def read_coco(path: Path) -> CocoFile:
    """The images of an annotation file with their objects, whose keys are the annotations' ids.

    Ids are compared as text: some exporters write "12" in one place and 12 in another. Annotations whose id is
    repeated are told by their row, from 1.
    Raises DataError with the row, its id and the value that is wrong.
    """
    content = read_json(path)
    try:
        images, annotations, categories = (_rows(content, key) for key in ("images", "annotations", "categories"))
        names = _categories(categories)
        files, pictures = _images(images)
        objects, unlisted = _objects(annotations, files, names)
    except _Fault as fault:
        raise DataError(f"{path}: {fault}") from None
    found = {
        name: CocoImage(name, row.width, row.height, tuple(objects.get(name, ()))) for name, row in pictures.items()
    }
    return CocoFile(path, names, found, unlisted, len(images) - len(pictures))


def _rows(content: Any, key: str) -> list[Any]:
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise _Fault(f"no {key}; not a COCO annotation file, or an empty one")
    return rows


def _categories(rows: list[Any]) -> dict[int, str]:
    """Names by id, without their spaces, as TAO has them."""
    names: dict[int, str] = {}
    for number, row in enumerate(rows, start=1):
        try:
            _check_object(row)
            identity = _value(row, "id", _whole_id, "a whole number")
            name = _value(row, "name", _class_name, "a text")
        except _Fault as fault:
            raise _Fault(f"{_place('category', row, number)}: {fault}") from None
        if names.setdefault(identity, name) != name:
            raise _Fault(f"category id {identity} has two names, {names[identity]!r} and {name!r}")
    return names


def _images(rows: list[Any]) -> tuple[dict[str, str], dict[str, _Listed]]:
    """File names by image id, and the first row of each file by its name."""
    files: dict[str, str] = {}
    pictures: dict[str, _Listed] = {}
    for number, row in enumerate(rows, start=1):
        try:
            image = _image(row)
        except _Fault as fault:
            raise _Fault(f"{_place('image', row, number)}: {fault}") from None
        if files.setdefault(image.id, image.file_name) != image.file_name:
            both = f"{files[image.id]!r} and {image.file_name!r}"
            raise _Fault(f"image id {image.id} is given to two files, {both}")
        first = pictures.setdefault(image.file_name, image)
        if (first.width, first.height) != (image.width, image.height):
            raise _Fault(
                f"images {first.id} and {image.id} are the same file, {image.file_name!r}, in two sizes, "
                f"{first.width} x {first.height} and {image.width} x {image.height}"
            )
    return files, pictures


def _image(row: Any) -> _Listed:
    _check_object(row)
    return _Listed(
        _value(row, "id", _identity, _ID),
        _value(row, "file_name", _file_name, "a file name"),
        _value(row, "width", _pixels, _SIZE),
        _value(row, "height", _pixels, _SIZE),
    )


def _objects(
    rows: list[Any], files: dict[str, str], names: dict[int, str]
) -> tuple[dict[str, list[LabelledObject]], int]:
    """Objects by file name, and how many annotations are of images that are not listed."""
    objects: dict[str, list[LabelledObject]] = {}
    keys: set[str] = set()
    unlisted = 0
    for number, row in enumerate(rows, start=1):
        try:
            _check_object(row)
            file_name = files.get(_value(row, "image_id", _identity, _ID))
            if file_name is None:
                unlisted += 1
                continue
            key = _value(row, "id", _identity, _ID)
            label = _label(row, names)
            crowd = "iscrowd" in row and _value(row, "iscrowd", _crowd, "0 or 1")
        except _Fault as fault:
            raise _Fault(f"{_place('annotation', row, number)}: {fault}") from None
        while key in keys:
            key = f"{key}_row{number}"
        keys.add(key)
        objects.setdefault(file_name, []).append(LabelledObject(key, label, crowd))
    return objects, unlisted


def _label(row: _Row, names: dict[int, str]) -> KittiObject:
    category = _value(row, "category_id", _whole_id, "a category id")
    if category not in names:
        raise _Fault(f"category_id is {_shown(row['category_id'])}, expected one that is listed in categories")
    if "bbox" not in row and "segmentation" in row:
        raise _Fault(f"a segmentation without bbox, expected {_BBOX}")
    return KittiObject(names[category], _value(row, "bbox", _corners, _BBOX))


def _check_object(row: Any) -> None:
    if not isinstance(row, dict):
        raise _Fault(f"{_shown(row)}, expected an object")


def _value(row: _Row, key: str, convert: Callable[[Any], T | None], expected: str) -> T:
    """`row[key]` as `convert` makes it, which gives None for what is not as `expected`."""
    if key not in row:
        raise _Fault(f"no {key}, expected {expected}")
    value = convert(row[key])
    if value is None:
        raise _Fault(f"{key} is {_shown(row[key])}, expected {expected}")
    return value


def _whole(value: Any) -> int | None:
    """Numbers such as 12 and 12.0; neither true nor false, which Python takes for numbers."""
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() else None


def _identity(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    whole = _whole(value)
    return None if whole is None else str(whole)


def _whole_id(value: Any) -> int | None:
    if not isinstance(value, str):
        return _whole(value)
    try:
        return int(value)
    except ValueError:
        return None


def _pixels(value: Any) -> int | None:
    whole = _whole(value)
    return whole if whole is not None and 0 < whole <= _MOST_PIXELS else None


def _crowd(value: Any) -> bool | None:
    return bool(value) if value is None or value in (0, 1) else None


def _file_name(value: Any) -> str | None:
    """Normalized: ./a.jpg is a.jpg."""
    if not isinstance(value, str) or "\0" in value or not _is_unicode(value):
        return None
    name = PurePosixPath(value)
    return name.as_posix() if name.name else None


def _class_name(value: Any) -> str | None:
    name = value.replace(" ", "") if isinstance(value, str) and _is_unicode(value) else ""
    return name or None


def _is_unicode(text: str) -> bool:
    """Whether `text` can be written to a file; JSON can hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _corners(value: Any) -> _Box | None:
    """x, y, width, height -> x1, y1, x2, y2. JSON's numbers may be NaN or too large."""
    if type(value) is not list or len(value) != 4 or not all(type(number) in (int, float) for number in value):
        return None
    try:
        x, y, width, height = map(float, value)
    except OverflowError:
        return None
    box = x, y, x + width, y + height
    return box if all(abs(number) <= LARGEST for number in box) else None


def _place(kind: str, row: Any, number: int) -> str:
    """Such as "annotation 70 (row 3) of image 7"."""
    of_row = row if isinstance(row, dict) else {}
    identity = f" {_shown(of_row['id'])}" if "id" in of_row else ""
    image = f" of image {_shown(of_row['image_id'])}" if kind == "annotation" and "image_id" in of_row else ""
    return f"{kind}{identity} (row {number}){image}"


class _Shown(reprlib.Repr):
    """Values nearly as JSON writes them, cut where they are long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = 100

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802 - the name that reprlib looks for
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"

    def repr_float(self, value: float, level: int) -> str:
        if math.isfinite(value):
            return repr(value)
        return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"


_shown = _Shown().repr
