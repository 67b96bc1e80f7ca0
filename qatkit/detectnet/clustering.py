"""Cells that see an object -> one box per object: DBSCAN, NMS, or both (HYBRID).

One implementation serves validation, evaluation and inference. TAO has two, which differ from each other and carry
defects; `compat` brings either back, to compare numbers with it:

- Both: `dbscan_min_samples` is cut to a whole number, at least 1, so that a cluster's core needs coverages that add
  up to 1; NMS reports the confidence of another cell (see `_suppressed`); sums are float32 (`tao_clustering`).
- "tao-evaluate": the two confidence thresholds of a spec are swapped; HYBRID is refused.
- "tao-inference": IoU is regularized by 0.01 instead of 1e-5 square pixels; a DBSCAN detection needs more than the
  threshold, not as much; "mean_cov" is (mean - min) / (max - min) of the coverages, undefined for a single cell; NMS
  thresholds of zero mean 0.3 (IoU) and 0.1 (confidence); cells are taken column by column, which decides ties.

Without it: `dbscan_min_samples` is the sum of coverages that a cluster's core needs, as given (0.05 in most published
files, written when TAO took it so), "mean_cov" is the mean coverage of the cluster's cells, as TAO's manual says, and
an NMS IoU threshold of zero, which is what a spec without one holds, means 0.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet import tao_clustering
from qatkit.detectnet.boxes import iou
from qatkit.detectnet.tao_clustering import Clusters
from qatkit.errors import SpecError
from qatkit.spec import ClusteringConfig

Array = NDArray[np.float32]
Compat = Literal["none", "tao-evaluate", "tao-inference"]

_NMS_IOU_THRESHOLD = 0.3  # where the spec has none
_NMS_BORDER = 1.0  # pixels: NMS compares boxes as if their coordinates were whole pixels


class Algorithm(IntEnum):
    """Values of ClusteringConfig.clustering_algorithm."""

    DBSCAN = 0
    NMS = 1
    HYBRID = 2


class _Rules(NamedTuple):
    """In what the implementations differ."""

    iou_regularizer: float  # square pixels
    eps_slack: float
    tao_defects: bool  # whole min_samples, permuted confidences, its arithmetic
    inference: bool  # cells column by column, "more than" the DBSCAN threshold, a spread as mean_cov


_RULES: dict[str, _Rules] = {
    "none": _Rules(1e-5, 0.0, False, False),
    "tao-evaluate": _Rules(1e-5, 0.0, True, False),
    "tao-inference": _Rules(0.01, 1e-12, True, True),
}


@dataclass(frozen=True)
class ClusteringParams:
    """How the cells of one class become detections.

    coverage_threshold: cells with more coverage (0..1) take part.
    minimum_bounding_box_height: pixels; DBSCAN drops clusters that are not higher. NMS ignores it, as TAO does.
    dbscan_eps: DBSCAN's neighbourhood, as 1 - IoU.
    dbscan_min_samples: the sum of coverages within the neighbourhood that makes a cell the core of a cluster.
    dbscan_confidence_threshold: the least confidence of a cluster; a sum of coverages, so it may exceed 1.
    nms_iou_threshold: NMS drops boxes that overlap a better one more than this.
    nms_confidence_threshold: NMS keeps boxes with more confidence.
    confidence_model: a cluster's confidence is the sum ("aggregate_cov") or the mean of its coverages ("mean_cov").

    Raises SpecError for values out of range.
    """

    algorithm: Algorithm = Algorithm.DBSCAN
    coverage_threshold: float = 0.0
    minimum_bounding_box_height: float = 0.0
    dbscan_eps: float = 0.0
    dbscan_min_samples: float = 0.0
    dbscan_confidence_threshold: float = 0.0
    nms_iou_threshold: float = _NMS_IOU_THRESHOLD
    nms_confidence_threshold: float = 0.0
    confidence_model: str = "aggregate_cov"
    compat: Compat = "none"

    def __post_init__(self) -> None:
        for name in ("coverage_threshold", "dbscan_eps", "nms_iou_threshold", "nms_confidence_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise SpecError(f"clustering_config.{name} must lie in 0..1, got {getattr(self, name)}")
        for name in ("minimum_bounding_box_height", "dbscan_min_samples", "dbscan_confidence_threshold"):
            if not getattr(self, name) >= 0:
                raise SpecError(f"clustering_config.{name} must not be negative, got {getattr(self, name)}")
        if self.confidence_model not in ("aggregate_cov", "mean_cov"):
            raise SpecError(f"confidence_model must be aggregate_cov or mean_cov, got '{self.confidence_model}'")
        if self.compat not in _RULES:
            raise SpecError(f"compat must be one of {', '.join(_RULES)}, got '{self.compat}'")
        if self.compat == "tao-evaluate" and self.algorithm is Algorithm.HYBRID:
            raise SpecError("TAO's evaluate has no HYBRID clustering", hint="use DBSCAN or NMS, or no compat mode")

    @property
    def by_column(self) -> bool:
        """Whether the cells of a grid are to be taken column by column instead of row by row."""
        return _RULES[self.compat].inference

    @classmethod
    def from_spec(
        cls, config: ClusteringConfig, *, confidence_model: str = "aggregate_cov", compat: Compat = "none"
    ) -> ClusteringParams:
        """The parameters of a clustering_config."""
        dbscan_confidence, nms_confidence = config.dbscan_confidence_threshold, config.nms_confidence_threshold
        nms_iou = config.nms_iou_threshold
        if compat == "tao-evaluate":
            dbscan_confidence, nms_confidence = nms_confidence, dbscan_confidence
        else:
            nms_iou = nms_iou or _NMS_IOU_THRESHOLD
        if compat == "tao-inference":
            nms_confidence = nms_confidence or 0.1
        return cls(
            algorithm=Algorithm(config.clustering_algorithm),
            coverage_threshold=config.coverage_threshold,
            minimum_bounding_box_height=config.minimum_bounding_box_height,
            dbscan_eps=config.dbscan_eps,
            dbscan_min_samples=config.dbscan_min_samples,
            dbscan_confidence_threshold=dbscan_confidence,
            nms_iou_threshold=nms_iou,
            nms_confidence_threshold=nms_confidence,
            confidence_model=confidence_model,
            compat=compat,
        )


@dataclass(frozen=True)
class Detections:
    """The objects of one class found in one frame, the most confident first.

    boxes: [n, 4] float32 x1, y1, x2, y2 in network-input pixels.
    confidences: [n] float32; the sum of the coverages (DBSCAN, may exceed 1) or the coverage of the cell (NMS).
    coverages: [n] float32 mean coverage of the cells merged into the box, 0..1.
    cells: [n] int64 number of cells merged into the box.
    """

    boxes: Array
    confidences: Array
    coverages: Array
    cells: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(
        cls,
        boxes: NDArray[np.floating],
        confidences: NDArray[np.floating],
        coverages: NDArray[np.floating],
        cells: NDArray[np.integer],
    ) -> Detections:
        """The given detections, sorted."""
        order = np.argsort(-confidences, kind="stable")
        return cls(
            boxes[order].astype(np.float32, copy=False),
            confidences[order].astype(np.float32, copy=False),
            coverages[order].astype(np.float32, copy=False),
            cells[order].astype(np.int64, copy=False),
        )

    @classmethod
    def none(cls) -> Detections:
        """No detection."""
        nothing = np.empty(0, np.float32)
        return cls(np.empty((0, 4), np.float32), nothing, nothing, np.empty(0, np.int64))

    def scaled(self, x: float, y: float) -> Detections:
        """The same detections in an image that is `x` times as wide and `y` times as high."""
        boxes = self.boxes * np.array([x, y, x, y], np.float32)
        return Detections(boxes, self.confidences, self.coverages, self.cells)


def cluster(boxes: Array, coverages: Array, params: ClusteringParams) -> Detections:
    """The detections of one class in one frame.

    boxes: [n, 4] x1, y1, x2, y2 in pixels, one per grid cell. coverages: [n] in 0..1. Cells with NaN are left out.
    """
    seen = (coverages > params.coverage_threshold) & ~np.isnan(boxes).any(axis=1)
    boxes, coverages = boxes[seen], coverages[seen]
    if not len(boxes):
        return Detections.none()
    if params.algorithm is Algorithm.NMS:
        return _suppressed(boxes, coverages, params)
    labels = _dbscan(boxes, coverages, params)
    merged = _merge(boxes, coverages, labels, params)
    confidences = _confidences(merged, params)
    good = _confident(confidences, params) & (
        merged.boxes[:, 3] - merged.boxes[:, 1] > params.minimum_bounding_box_height
    )
    if params.algorithm is Algorithm.DBSCAN:
        return Detections.of(merged.boxes[good], confidences[good], merged.mean[good], merged.cells[good])
    # Cluster by cluster, as TAO concatenates them: it decides between cells of equal coverage.
    order = np.argsort(labels, kind="stable")
    members = order[np.isin(labels[order], np.flatnonzero(good))]
    return _suppressed(boxes[members], coverages[members], params)


def nms(boxes: Array, scores: Array, iou_threshold: float) -> NDArray[np.int64]:
    """Indices of the boxes [n, 4] that greedy non-maximum suppression keeps, by descending score [n].

    A box is dropped when it overlaps one that was kept before by more than `iou_threshold`.
    """
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        overlap = iou(boxes[best], boxes[remaining], border=_NMS_BORDER)
        remaining = remaining[overlap <= iou_threshold]
    return np.array(kept, np.int64)


def _suppressed(boxes: Array, coverages: Array, params: ClusteringParams) -> Detections:
    if _RULES[params.compat].tao_defects:
        order, scores = tao_clustering.suppress(boxes, coverages, params.nms_iou_threshold)
        kept = order[scores > params.nms_confidence_threshold]
        # TAO's NMS sorts the scores in place, then reads them with the indices that the boxes had before.
        confidences = scores[kept]
    else:
        order = nms(boxes, coverages, params.nms_iou_threshold)
        kept = order[coverages[order] > params.nms_confidence_threshold]
        confidences = coverages[kept]
    return Detections.of(boxes[kept], confidences, coverages[kept], np.ones(len(kept), np.int64))


def _dbscan(boxes: Array, coverages: Array, params: ClusteringParams) -> NDArray[np.int64]:
    """[n] the cluster of each box, 0.., or -1."""
    from sklearn.cluster import DBSCAN  # takes seconds, which no error and no --help waits for

    rules = _RULES[params.compat]
    distances = _distances(boxes, rules.iou_regularizer)
    weights, min_samples = coverages, max(int(params.dbscan_min_samples), 1)
    if not rules.tao_defects:
        # scikit-learn takes whole numbers from 1 for min_samples; dividing the weights by it instead allows any.
        least, min_samples = params.dbscan_min_samples, 1
        weights = coverages / least if least > 0 else np.ones_like(coverages)
    eps = max(params.dbscan_eps + rules.eps_slack, float(np.finfo(np.float32).tiny))
    model = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    found: NDArray[np.int64] = model.fit_predict(distances, sample_weight=weights)
    return found


def _distances(boxes: Array, regularizer: float) -> Array:
    """[n, n] of 1 - IoU; some rows at a time, because early in training thousands of cells take part."""
    rows = [iou(boxes[at : at + 64, None], boxes, regularizer=regularizer) for at in range(0, len(boxes), 64)]
    return 1 - np.concatenate(rows)


def _merge(boxes: Array, coverages: Array, labels: NDArray[np.int64], params: ClusteringParams) -> Clusters:
    """The clusters 0.. of boxes [n, 4]."""
    if _RULES[params.compat].tao_defects:
        return tao_clustering.merge(boxes, coverages, labels)
    member = labels >= 0
    boxes, labels = boxes[member], labels[member]
    weights = coverages[member].astype(np.float64)
    count = int(labels.max(initial=-1)) + 1
    cells = np.bincount(labels, minlength=count).astype(np.int64)
    total = np.bincount(labels, weights=weights, minlength=count).astype(np.float64)
    centers = [np.bincount(labels, weights=weights * boxes[:, side], minlength=count) / total for side in range(4)]
    least, most = np.full(count, np.inf), np.zeros(count)
    np.minimum.at(least, labels, weights)
    np.maximum.at(most, labels, weights)
    return Clusters(np.stack(centers, axis=1), total, total / cells, least, most, cells)


def _confidences(merged: Clusters, params: ClusteringParams) -> NDArray[np.floating]:
    if params.confidence_model == "aggregate_cov":
        return merged.total
    return merged.spread() if _RULES[params.compat].inference else merged.mean


def _confident(confidences: NDArray[np.floating], params: ClusteringParams) -> NDArray[np.bool_]:
    rules, threshold = _RULES[params.compat], params.dbscan_confidence_threshold
    if rules.tao_defects:
        values = confidences.astype(np.float64)
        return values > threshold if rules.inference else values >= threshold
    # float32, as the thresholds of a spec: 0.9 there is not the 0.9 of a double.
    return confidences.astype(np.float32) >= np.float32(threshold)
