"""TAO's arithmetic where it decides by a hair which boxes come out, for `compat` modes of `clustering`.

TAO sums in the network's float32, and NumPy 1 made float64 of a float32 number that met a Python number: so a mean of
coverages is a float32 sum divided in float64, and a confidence is compared with its threshold in float64. The
"mean_cov" of two cells, (mean - min) / (max - min), is 0.5 but for that rounding, and of cells that are all equal it
is 0 / 0 or, where the sum was rounded, infinite.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Clusters(NamedTuple):
    """What cells became, cluster by cluster."""

    boxes: NDArray[np.floating]  # [k, 4], weighted by coverage
    total: NDArray[np.floating]  # [k] of the coverages, as are the next three
    mean: NDArray[np.float64]
    least: NDArray[np.floating]
    most: NDArray[np.floating]
    cells: NDArray[np.int64]

    def spread(self) -> NDArray[np.float64]:
        """[k] (mean - least) / (most - least) of the coverages; NaN or infinite where they are equal."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.mean - self.least) / (self.most - self.least)


def merge(boxes: NDArray[np.floating], coverages: NDArray[np.floating], labels: NDArray[np.int64]) -> Clusters:
    """The clusters 0.. of boxes [n, 4], in the precision of the arrays."""
    found = []
    for label in range(int(labels.max(initial=-1)) + 1):
        weights, members = coverages[labels == label], boxes[labels == label]
        total = weights.sum()
        center = (members * (weights / total)[:, None]).sum(axis=0)
        found.append((center, total, weights.min(), weights.max(), len(weights)))
    if not found:
        nothing = np.empty(0)
        return Clusters(np.empty((0, 4)), nothing, nothing, nothing, nothing, np.empty(0, np.int64))
    centers, total, least, most, cells = map(np.array, zip(*found))
    return Clusters(centers, total, total.astype(np.float64) / cells, least, most, cells.astype(np.int64))


def suppress(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], iou_threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """TAO's NMS of boxes [n, 4]: the boxes in the order in which it takes them, and the scores in that order.

    It swaps the best of the rest to the front of the rest, which decides between equal scores, and sets the scores of
    what overlaps it to zero. Overlaps are float64, of areas in the precision of the boxes; borders count.
    """
    order, scores = np.arange(len(boxes)), scores.copy()
    left, top, right, bottom = boxes.T
    areas = (right - left + 1) * (bottom - top + 1)
    exact = boxes.astype(np.float64)
    for at in range(len(boxes)):
        best = at + int(np.argmax(scores[at:]))
        order[[at, best]], scores[[at, best]] = order[[best, at]], scores[[best, at]]
        first, rest = exact[order[at]], order[at + 1 :]
        sides = np.minimum(first[2:], exact[rest, 2:]) - np.maximum(first[:2], exact[rest, :2]) + 1
        common = np.maximum(sides, 0).prod(axis=1)
        scores[at + 1 :][common / (areas[order[at]] + areas[rest] - common) > iou_threshold] = 0
    return order, scores
