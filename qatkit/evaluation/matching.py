"""Which detections are right: each is compared with the labelled objects of its class in its frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.boxes import iou
from qatkit.errors import SpecError
from qatkit.spec import EvaluationConfig

# Detections compared at once: bounds the memory where a bad network finds thousands of objects in a frame.
_BLOCK = 1 << 16


class FrameBoxes(NamedTuple):
    """Boxes of one class, all frames together.

    frames: [n] int64 frame numbers. boxes: [n, 4] x1, y1, x2, y2 in network-input pixels.
    """

    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]

    @classmethod
    def of(cls, frames: Sequence[NDArray[np.float32]]) -> FrameBoxes:
        """The boxes [n, 4] of every frame, in order."""
        numbers = np.repeat(np.arange(len(frames)), [len(boxes) for boxes in frames])
        return cls(numbers, np.concatenate([np.empty((0, 4), np.float32), *frames]))

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64] | slice) -> FrameBoxes:
        """Those with the given indices, in the given range, or where a mask is set."""
        return FrameBoxes(self.frames[chosen], self.boxes[chosen])


@dataclass(frozen=True)
class Criteria:
    """Which objects of a class take part, and what overlap makes a detection right.

    min_overlap: IoU in 0..1. The sizes are pixels at network-input resolution, both ends included; boxes of other
    sizes, labelled or detected, vanish (TAO has no regions to ignore: a detection on a vanished object is wrong).
    """

    min_overlap: float
    min_width: float = 0
    max_width: float = np.inf
    min_height: float = 0
    max_height: float = np.inf

    def __post_init__(self) -> None:
        if not 0 <= self.min_overlap <= 1:
            raise SpecError(f"minimum_detection_ground_truth_overlap must lie in 0..1, got {self.min_overlap}")

    @classmethod
    def from_spec(cls, config: EvaluationConfig, name: str) -> Criteria:
        """What an evaluation_config says about class `name`.

        Raises SpecError where it says nothing.
        """
        for field in ("minimum_detection_ground_truth_overlap", "evaluation_box_config"):
            if name not in getattr(config, field):
                raise SpecError(f"evaluation_config.{field} has no entry for class '{name}'")
        size = config.evaluation_box_config[name]
        return cls(
            config.minimum_detection_ground_truth_overlap[name],
            size.minimum_width, size.maximum_width, size.minimum_height, size.maximum_height,
        )  # fmt: skip

    def admits(self, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """[n] whether the boxes [n, 4] have the right size."""
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        wide = (self.min_width <= width) & (width <= self.max_width)
        return wide & (self.min_height <= height) & (height <= self.max_height)


def match(truths: FrameBoxes, found: FrameBoxes, min_overlap: float) -> NDArray[np.bool_]:
    """[n] whether each detection is right; `found` has the most confident first.

    As in TAO: coordinates are rounded to whole pixels, halves to even, and border pixels count. A detection looks
    only at the object of its frame that it overlaps most (the first of equals); the first detection that overlaps an
    object by at least `min_overlap` is right, later ones are not.
    """
    order = np.argsort(truths.frames, kind="stable")
    truths = FrameBoxes(truths.frames[order], np.rint(truths.boxes[order]).astype(np.float64))
    blocks = range(0, max(len(found.frames), 1), _BLOCK)
    best = [_best_truths(truths, found.select(slice(at, at + _BLOCK)), min_overlap) for at in blocks]
    wanted = np.concatenate(best)
    _, first = np.unique(wanted, return_index=True)
    right = np.zeros(len(wanted), bool)
    right[first] = True
    return right & (wanted >= 0)


def _best_truths(truths: FrameBoxes, found: FrameBoxes, min_overlap: float) -> NDArray[np.int64]:
    """[n] index of the object that each detection overlaps most, -1 where that is less than `min_overlap`."""
    start = np.searchsorted(truths.frames, found.frames, side="left")
    count = np.searchsorted(truths.frames, found.frames, side="right") - start
    best = np.full(len(count), -1, np.int64)
    # One entry per pair of a detection and an object of its frame; the pairs of a detection lie together.
    rows = np.flatnonzero(count)
    ends = np.cumsum(count[rows])
    begins = ends - count[rows]
    if not len(rows):
        return best
    detection = np.repeat(rows, count[rows])
    truth = np.arange(ends[-1]) - np.repeat(begins - start[rows], count[rows])
    overlap = iou(np.rint(found.boxes).astype(np.float64)[detection], truths.boxes[truth], border=1)
    most = np.maximum.reduceat(overlap, begins)
    # The first pair with the detection's largest overlap: all others are moved behind the last object.
    first = np.minimum.reduceat(np.where(overlap == np.repeat(most, count[rows]), truth, len(truths.frames)), begins)
    best[rows] = np.where(most >= min_overlap, first, -1)
    return best
