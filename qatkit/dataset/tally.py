"""What labels and images hold that their user may not expect, counted while they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qatkit.console import listed
from qatkit.dataset.source import LabelledFrame

_ROUNDING = 0.5  # pixels: labels are rounded, and some count the last pixel, some the one behind it


@dataclass
class Turned:
    """Images that carry an EXIF rotation, the boxes in them, and those that reach beyond the image as it is read."""

    images: int = 0
    boxes: int = 0
    outside: int = 0

    def add(self, boxes: ArrayLike, width: int, height: int) -> None:
        """Count one image of width x height pixels with boxes [n, 4]."""
        array = np.asarray(boxes, np.float32).reshape(-1, 4)
        self.images += 1
        self.boxes += len(array)
        self.outside += _count_beyond(array, width, height)

    def notes(self) -> Iterator[str]:
        """What to tell of images that are read as they are stored."""
        if self.images:
            yield (
                f"{_images(self.images)} an EXIF rotation, which is ignored, as in TAO; {self.outside} of "
                f"{self.boxes} boxes in them reach beyond the image as it is stored. Where labels were drawn on the "
                "image as viewers show it, dataset_convert needs --exif apply"
            )


@dataclass
class Tally:
    """Counts over labelled frames.

    flaws: objects that are left out, by what is wrong with their box. crowds: objects that stand for many. scores:
    label lines with a 16th field. objects: that are kept; beyond: those that reach beyond their image. turned: images
    whose EXIF rotation is ignored, and not their objects but here. upright: images whose rotation is applied.
    """

    flaws: Counter[str] = field(default_factory=Counter)
    crowds: int = 0
    scores: int = 0
    objects: int = 0
    beyond: int = 0
    turned: Turned = field(default_factory=Turned)
    upright: int = 0

    def add(self, frame: LabelledFrame) -> None:
        """Count one frame."""
        self.flaws.update(item.label.flaw for item in frame.objects if item.label.flaw)
        self.crowds += sum(item.crowd for item in frame.objects)
        self.scores += sum(item.label.score is not None for item in frame.objects)
        boxes = [item.label.box for item in frame.drawable]
        if frame.orientation != 1 and frame.exif == "ignore":
            self.turned.add(boxes, frame.width, frame.height)
            return
        self.upright += frame.orientation != 1
        self.objects += len(boxes)
        self.beyond += _count_beyond(boxes, frame.width, frame.height)

    def notes(self) -> Iterator[str]:
        """One line for each thing that was found."""
        if self.flaws:
            yield f"objects left out: {listed(self.flaws)}"
        if self.crowds:
            yield f"crowds (iscrowd: 1): {self.crowds}, each kept as one object, as in TAO"
        if self.scores:
            yield f"label lines with a 16th field: {self.scores}, taken for a score, and not used; TAO refuses them"
        if self.beyond:
            yield f"objects that reach beyond their image: {self.beyond} of {self.objects} (labels of another size?)"
        yield from self.turned.notes()
        if self.upright:
            yield f"{_images(self.upright)} an EXIF rotation, which is applied: training turns their pixels too"


def reaches_beyond(boxes: NDArray[np.float32], sizes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which boxes [M, 4] reach beyond their image, of sizes [M or 1, 2] (width, height)."""
    low, high = boxes[:, :2] < -_ROUNDING, boxes[:, 2:] > sizes + _ROUNDING
    found: NDArray[np.bool_] = low[:, 0] | low[:, 1] | high[:, 0] | high[:, 1]
    return found


def _count_beyond(boxes: ArrayLike, width: int, height: int) -> int:
    return int(reaches_beyond(np.asarray(boxes, np.float32).reshape(-1, 4), np.array([[width, height]])).sum())


def _images(count: int) -> str:
    return f"{count} image{'s carry' if count != 1 else ' carries'}"
