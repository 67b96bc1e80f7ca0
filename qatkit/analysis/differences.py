"""Where two networks see different things: confident detections of one without a counterpart of the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.clustering import Detections
from qatkit.evaluation.evaluate import Result
from qatkit.evaluation.matching import FrameBoxes, match

# IoU from which two boxes are the same object.
SAME = 0.5


@dataclass(frozen=True)
class Sightings:
    """Confident detections on the frames of a data set, the most confident first.

    frames: [n] int64 frame numbers. classes: [n] int64 class indices. boxes: [n, 4] x1, y1, x2, y2 in network-input
    pixels. confidences: [n].
    """

    frames: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, chosen: NDArray[np.bool_]) -> Sightings:
        """Those where the mask [n] is set."""
        return Sightings(self.frames[chosen], self.classes[chosen], self.boxes[chosen], self.confidences[chosen])


def sightings(frames: Iterable[Mapping[int, Detections]], thresholds: Sequence[float]) -> Sightings:
    """The detections, frame by frame and by class index, at least as confident as the threshold of their class."""
    parts = [
        (number, index, found.boxes[sure], found.confidences[sure])
        for number, of_frame in enumerate(frames)
        for index, found in of_frame.items()
        if (sure := found.confidences >= thresholds[index]).any()
    ]
    counts = [len(boxes) for _, _, boxes, _ in parts]
    confidences = np.concatenate([np.empty(0, np.float32), *(part[3] for part in parts)])
    order = np.argsort(-confidences, kind="stable")
    return Sightings(
        frames=np.repeat(np.array([part[0] for part in parts], np.int64), counts)[order],
        classes=np.repeat(np.array([part[1] for part in parts], np.int64), counts)[order],
        boxes=np.concatenate([np.empty((0, 4), np.float32), *(part[2] for part in parts)])[order],
        confidences=confidences[order],
    )


def best_thresholds(result: Result) -> list[float]:
    """The confidence with the best F1 of each class; infinite where nothing is right."""
    return [np.inf if of_class.best is None else of_class.best.threshold for of_class in result.classes]


def unmatched(found: Sightings, others: Sightings) -> NDArray[np.bool_]:
    """[n] which of `found` have no counterpart: of the same class in the same frame, overlapping by at least `SAME`.

    A detection can be the counterpart of one other only.
    """
    alone = np.ones(len(found), bool)
    for index in np.unique(found.classes):
        mine, theirs = (sights.classes == index for sights in (found, others))
        truths = FrameBoxes(others.frames[theirs], others.boxes[theirs])
        alone[mine] = ~match(truths, FrameBoxes(found.frames[mine], found.boxes[mine]), SAME)
    return alone


def differences(found: Sightings, reference: Sightings, frames: int) -> NDArray[np.int64]:
    """[frames] detections per frame that only one of the two networks has."""
    extra = found.frames[unmatched(found, reference)]
    missed = reference.frames[unmatched(reference, found)]
    return np.bincount(np.concatenate([extra, missed]), minlength=frames)
