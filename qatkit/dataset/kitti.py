"""KITTI label files: one object per line, 15 fields, or 16 with a score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qatkit.dataset.paths import check_regular
from qatkit.errors import DataError

LARGEST = 3.4028234663852886e38  # float32, which is what records hold
Flaw = Literal["", "no area", "swapped corners"]

_FIELDS = (15, 16)
_OCCLUSIONS = (-1, 0, 1, 2, 3)
_UNKNOWN_ANGLE = -10.0  # KITTI's, in its DontCare lines
_SPACE = " (class name with a space?)"


@dataclass(frozen=True)
class KittiObject:
    """One labelled object.

    box: x1, y1, x2, y2 in pixels of the image, as written (neither clipped nor ordered).
    dimensions: height, width, length; location: x, y, z; both in the unit of the data set (KITTI: metres).
    """

    class_name: str
    box: tuple[float, float, float, float]
    truncation: float = 0.0
    occlusion: int = 0
    observation_angle: float = 0.0
    dimensions: tuple[float, float, float] = (0.0, 0.0, 0.0)
    location: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_y: float = 0.0
    score: float | None = None

    @property
    def integer_box(self) -> tuple[int, int, int, int]:
        """The box with its coordinates truncated towards zero."""
        x1, y1, x2, y2 = self.box
        return int(x1), int(y1), int(x2), int(y2)

    @property
    def flaw(self) -> Flaw:
        """Why no object can be drawn: corners in the wrong order, or no area after truncation to integers.

        "" where one can be. TAO leaves out objects with either.
        """
        x1, y1, x2, y2 = self.box
        if x2 < x1 or y2 < y1:
            return "swapped corners"
        x1, y1, x2, y2 = self.integer_box
        return "" if x1 < x2 and y1 < y2 else "no area"

    @property
    def is_drawable(self) -> bool:
        """Whether the box has an area after truncation to integers; TAO leaves out boxes that have none."""
        return not self.flaw


@dataclass(frozen=True)
class LabelledObject:
    """An object with the name it has in the labels, and a key that finds it there again.

    crowd: the box is around many objects that are not told apart (COCO's iscrowd).
    """

    key: str
    label: KittiObject
    crowd: bool = False


def parse_line(text: str) -> KittiObject:
    """One line of a label file.

    Raises ValueError, whose message says what is wrong with the line; also for a line that may have moved by a field,
    because its class name has a space.
    """
    fields = text.split()
    hint = _SPACE if len(fields) > min(_FIELDS) else ""
    if len(fields) not in _FIELDS:
        raise ValueError(f"expected 15 fields (16 with a score), found {len(fields)}{hint}")
    values = [_number(field, position) for position, field in enumerate(fields[1:], start=2)]
    if not _is_truncation(values[0]):
        raise ValueError(f"field 2 is {fields[1]!r}, expected a truncation: -1, or 0 to 1{hint}")
    if values[1] not in _OCCLUSIONS:
        raise ValueError(f"field 3 is {fields[2]!r}, expected an occlusion: -1, 0, 1, 2 or 3{hint}")
    item = _object(fields[0], values)
    if item.score is not None:
        _check_scored(item, fields, values)
    return item


def _object(class_name: str, values: list[float]) -> KittiObject:
    """values: the 14 numbers of a line, or 15 with a score."""
    x1, y1, x2, y2, height, width, length, x, y, z, rotation_y = values[3:14]
    return KittiObject(
        class_name=class_name,
        truncation=values[0],
        occlusion=int(values[1]),
        observation_angle=values[2],
        box=(x1, y1, x2, y2),
        dimensions=(height, width, length),
        location=(x, y, z),
        rotation_y=rotation_y,
        score=values[14] if len(values) > 14 else None,
    )


def _number(field: str, position: int) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        hint = _SPACE if position == 2 else ""
        raise ValueError(f"field {position} is {field!r}, expected a number{hint}")
    return value


def _is_truncation(value: float) -> bool:
    return value == -1 or 0 <= value <= 1


def _check_scored(item: KittiObject, fields: list[str], values: list[float]) -> None:
    """Refuse 16 fields that may as well be 15 with a class name of two words, such as `Class 1`.

    Boxes that no object can be drawn in are left out in either reading. A scored object at the left border does not
    fit the other reading: the height in metres stands where its y2 would be, and its x2 where its y1 would be.
    """
    if item.flaw == "swapped corners":
        raise ValueError(f"fields 5 to 8 are {' '.join(fields[4:8])}, expected x1 <= x2 and y1 <= y2{_SPACE}")
    truncation, occlusion, angle = values[1:4]
    if not _is_truncation(truncation) or occlusion not in _OCCLUSIONS:
        return
    if abs(angle) > 2 * math.pi and angle != _UNKNOWN_ANGLE:
        return
    other = _object(" ".join(fields[:2]), values[1:])
    if other.flaw != "swapped corners" and (item.is_drawable or other.is_drawable):
        raise ValueError(f"fields 1 and 2 may both be the class name, {other.class_name!r}{_SPACE}")


def read_labels(path: Path) -> list[KittiObject]:
    """The objects of one label file; blank lines count for nothing, an empty file has no objects.

    Raises DataError with file and line.
    """
    check_regular(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such label file", hint="an image without objects needs an empty one") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read this label file: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DataError(f"{path}: cannot read this label file: not text in UTF-8") from None
    objects = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            objects.append(parse_line(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    return objects


def label_names(images: Sequence[str]) -> dict[str, str]:
    """The name of each image's label file, by the image's file name: `a.txt` for `a.png`.

    Where two would have the same, as of `a.jpg` and `a.png`, they are `a.jpg.txt` and `a.png.txt`.
    """
    names = {image: f"{Path(image).stem}.txt" for image in images}
    while True:  # a second time where an image is called `a.png.jpg`
        uses = Counter(names.values())
        shared = [image for image, name in names.items() if uses[name] > 1]
        if not shared:
            return names
        names.update((image, f"{image}.txt") for image in shared)
