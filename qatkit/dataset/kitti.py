"""KITTI label files: one object per line, 15 fields, or 16 with a score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from qatkit.errors import DataError

_FIELDS = (15, 16)


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
    def is_drawable(self) -> bool:
        """Whether the box has an area after truncation to integers; TAO leaves out boxes that have none."""
        x1, y1, x2, y2 = self.integer_box
        return x1 < x2 and y1 < y2


def parse_line(text: str) -> KittiObject:
    """One line of a label file.

    Raises ValueError, whose message says what is wrong with the line.
    """
    fields = text.split()
    if len(fields) not in _FIELDS:
        raise ValueError(f"expected 15 fields (16 with a score), found {len(fields)}")
    values = [_number(field, position) for position, field in enumerate(fields[1:], start=2)]
    x1, y1, x2, y2, height, width, length, x, y, z, rotation_y = values[3:14]
    return KittiObject(
        class_name=fields[0],
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
    if not math.isfinite(value):
        raise ValueError(f"field {position} is {field!r}, expected a number")
    return value


def read_labels(path: Path) -> list[KittiObject]:
    """The objects of one label file; blank lines count for nothing, an empty file has no objects.

    Raises DataError with file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such label file", hint="an image without objects needs an empty one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read this label file: {error}") from error
    objects = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            objects.append(parse_line(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    return objects
