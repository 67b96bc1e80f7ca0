"""Clustering as TAO does it, where a rounding decides: by hand, and against a slow reference of the same arithmetic.

The reference is written from the facts of the reference vectors: float32 throughout, but a float32 number that
meets a Python number becomes float64 (NumPy 1), and so do thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from qatkit.detectnet.clustering import Algorithm, ClusteringParams, cluster
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.postprocess import detect

Floats = NDArray[np.floating]
SPREAD = ClusteringParams(
    dbscan_eps=0.3, dbscan_confidence_threshold=0.5, confidence_model="mean_cov", compat="tao-inference"
)
SUM = ClusteringParams(dbscan_eps=0.3, compat="tao-evaluate")
BOX = (10.0, 20.0, 110.0, 70.0)


class Found(NamedTuple):
    box: Floats
    confidence: float


def overlap(one: Floats, two: Floats, regularizer: float) -> np.floating:
    kind = one.dtype.type
    width = max(kind(0), min(one[2], two[2]) - max(one[0], two[0]))
    height = max(kind(0), min(one[3], two[3]) - max(one[1], two[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return width * height / (areas[0] + areas[1] - width * height + kind(regularizer))


def clusters(boxes: Floats, weights: Floats, params: ClusteringParams) -> Iterator[tuple[NDArray[np.bool_], Found]]:
    """The cells of each cluster that survives, and what they make together."""
    kind, inference = boxes.dtype.type, params.compat == "tao-inference"
    regularizer, slack = (0.01, 1e-12) if inference else (1e-5, 0.0)
    distances = np.array([[kind(1) - overlap(one, two, regularizer) for two in boxes] for one in boxes])
    dbscan = DBSCAN(
        params.dbscan_eps + slack, min_samples=max(int(params.dbscan_min_samples), 1), metric="precomputed"
    )
    labels = dbscan.fit_predict(distances, sample_weight=weights)
    for label in range(labels.max() + 1):
        inside = labels == label
        w = weights[inside]
        total = np.sum(w)
        products = boxes[inside] * (w / total)[:, None]
        box = sum(products)
        confidence = float(total)
        if params.confidence_model == "mean_cov":
            with np.errstate(invalid="ignore", divide="ignore"):
                confidence = (np.float64(total) / len(w) - np.float64(w.min())) / np.float64(w.max() - w.min())
        enough = confidence > params.dbscan_confidence_threshold
        if not inference:
            enough |= confidence == params.dbscan_confidence_threshold
        if box[3] - box[1] > params.minimum_bounding_box_height and enough:
            yield inside, Found(box, confidence)


def suppressed(boxes: Floats, scores: Floats, params: ClusteringParams) -> list[Found]:
    kind, order, scores = boxes.dtype.type, list(range(len(boxes))), list(scores)
    areas = [(box[2] - box[0] + kind(1)) * (box[3] - box[1] + kind(1)) for box in boxes]
    for at in range(len(order)):
        best = max(range(at, len(order)), key=lambda place: (scores[place], -place))
        order[at], order[best] = order[best], order[at]
        scores[at], scores[best] = scores[best], scores[at]
        one = [float(side) for side in boxes[order[at]]]
        for place in range(at + 1, len(order)):
            two = [float(side) for side in boxes[order[place]]]
            width = max(0.0, min(one[2], two[2]) - max(one[0], two[0]) + 1)
            height = max(0.0, min(one[3], two[3]) - max(one[1], two[1]) + 1)
            union = float(areas[order[at]] + areas[order[place]]) - width * height
            if width * height / union > params.nms_iou_threshold:
                scores[place] = kind(0)
    kept = [order[place] for place in range(len(order)) if scores[place] > kind(params.nms_confidence_threshold)]
    return [Found(boxes[cell], float(scores[cell])) for cell in kept]


def reference(boxes: Floats, coverages: Floats, params: ClusteringParams) -> list[Found]:
    seen = coverages > coverages.dtype.type(params.coverage_threshold)
    boxes, coverages = boxes[seen], coverages[seen]
    found: list[Found] = []
    if params.algorithm is Algorithm.NMS:
        found = suppressed(boxes, coverages, params)
    elif len(boxes):
        good = list(clusters(boxes, coverages, params))
        found = [one for _, one in good]
        if params.algorithm is Algorithm.HYBRID and good:
            found = suppressed(*(np.concatenate([part[at] for at, _ in good]) for part in (boxes, coverages)), params)
    return sorted(found, key=lambda one: -one.confidence)


def scene(rng: np.random.Generator, kind: Any) -> tuple[Floats, Floats]:
    """Cells [n, 4] around one to four objects, [n] their coverages; many alike, on whole pixels, on a tenth."""
    boxes, coverages = [], []
    for _ in range(rng.integers(1, 5)):
        corner, size, count = rng.integers(0, 250, 2), rng.integers(10, 80, 2), rng.integers(1, 14)
        shift = rng.normal(size=(count, 4)) * rng.choice([0.0, 0.5, 3.0, 8.0])
        cells = np.concatenate([corner, corner + size]) + (shift if rng.random() < 0.5 else np.rint(shift))
        if rng.random() < 0.3:
            cells[:, 3] = cells[:, 1] + rng.choice([4, 20])  # as high as the least height
        cells[:, 2:] = np.maximum(cells[:, 2:], cells[:, :2])
        boxes.append(cells)
        values = (rng.uniform(0, 1, count), rng.integers(1, 11, count) / 10, np.full(count, rng.integers(1, 11) / 10))
        coverages.append(values[rng.integers(3)])
    order = rng.permutation(sum(map(len, boxes)))
    return np.concatenate(boxes)[order].astype(kind), np.concatenate(coverages)[order].astype(kind)


def settings(rng: np.random.Generator, compat: Any) -> ClusteringParams:
    def pick(*values: float) -> float:
        return values[rng.integers(len(values))]

    return ClusteringParams(
        Algorithm(int(pick(0, 0, 1) if compat == "tao-evaluate" else pick(0, 0, 1, 2))),
        coverage_threshold=pick(0.005, 0.1, 0.3, 0.5),
        minimum_bounding_box_height=pick(0, 4, 20),
        dbscan_eps=pick(0.15, 0.25, 0.3, 0.5),
        dbscan_min_samples=pick(0, 0.05, 1, 2, 3.7),
        dbscan_confidence_threshold=pick(0.01, 0.1, 0.5, 1.0, 2.0),
        nms_iou_threshold=pick(0.1, 0.25, 0.3, 0.5),
        nms_confidence_threshold=pick(0.01, 0.1, 0.3, 0.5),
        confidence_model="mean_cov" if compat == "tao-inference" and rng.random() < 0.5 else "aggregate_cov",
        compat=compat,
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("compat", ["tao-evaluate", "tao-inference"])
def test_the_same_as_the_slow_reference(compat: str, kind: Any) -> None:
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(150):
        (boxes, coverages), params = scene(rng, kind), settings(rng, compat)
        found, expected = cluster(boxes, coverages, params), reference(boxes, coverages, params)
        assert len(found) == len(expected), params
        seen += len(expected)
        if expected:
            np.testing.assert_array_equal(found.boxes, np.float32([one.box for one in expected]))
            np.testing.assert_array_equal(found.confidences, np.float32([one.confidence for one in expected]))
    assert seen > 150


@pytest.mark.parametrize(
    "coverages, kept",
    [
        pytest.param((0.9, 0.3), True, id="two cells are half, and rounded up"),
        pytest.param((0.9, 0.4), False, id="two cells are half, and rounded down"),
        pytest.param((0.75, 0.5), False, id="two cells are exactly half"),
        pytest.param((0.9, 0.2, 0.2), False, id="less than half"),
        pytest.param((0.9, 0.8, 0.2), True, id="more than half"),
        pytest.param((0.4,) * 3, None, id="equal cells"),
        pytest.param((1.0,) * 3, False, id="equal cells without a rounding"),
        pytest.param((1.0,), False, id="one cell"),
    ],
)
def test_a_spread_at_its_threshold(coverages: tuple[float, ...], kept: bool | None) -> None:
    found = cluster(np.float32([BOX] * len(coverages)), np.float32(coverages), SPREAD)
    total = np.float32(coverages).sum()
    sign = float(total) / len(coverages) - min(map(float, np.float32(coverages)))
    assert len(found) == (sign > 0 if kept is None else kept)


@pytest.mark.parametrize("coverages", [(0.9, 0.4), (0.9, 0.3), (0.75, 0.5)])
def test_our_own_mean_is_a_mean(coverages: tuple[float, ...]) -> None:
    params = replace(SPREAD, compat="none", dbscan_min_samples=1.0)
    found = cluster(np.float32([BOX] * 2), np.float32(coverages), params)
    np.testing.assert_allclose(found.confidences, [np.mean(coverages)], rtol=1e-6)


def test_three_samples_are_a_sum_of_three() -> None:
    """Not of three thirds: a third of a coverage is rounded."""
    coverages = np.full(6, 0.5, np.float32)
    params = replace(SUM, dbscan_min_samples=3.7)
    assert len(cluster(np.float32([BOX] * 6), coverages, params)) == 1
    assert len(cluster(np.float32([BOX] * 5), coverages[:5], params)) == 0


def test_the_first_of_equal_cells_may_go_last() -> None:
    """TAO's NMS swaps the best cell with the first one, which then comes after its equals."""
    boxes = np.float32([[0, 0, 20, 20], [0, 4, 20, 24], [100, 100, 120, 120]])
    params = replace(SUM, algorithm=Algorithm.NMS, nms_iou_threshold=0.5)
    for compat, kept in (("tao-evaluate", 1), ("none", 0)):
        found = cluster(boxes, np.float32([0.5, 0.5, 0.9]), replace(params, compat=compat))
        assert {*map(tuple, found.boxes)} == {tuple(boxes[2]), tuple(boxes[kept])}


@pytest.mark.parametrize("compat, top", [("none", 0.0), ("tao-evaluate", 0.0), ("tao-inference", 2.5)])
def test_inference_takes_cells_by_column(compat: Any, top: float) -> None:
    """Of two cells alike that overlap, upper right and lower left, NMS keeps the first."""
    cov = np.float32([[[[0, 0.5], [0.5, 0]]]])
    params = ClusteringParams(Algorithm.NMS, nms_iou_threshold=0.1, compat=compat)
    (found,) = detect(cov, np.full((1, 4, 2, 2), 0.4, np.float32), Grid(32, 32, 2, 2, 35.0, 0.5), [params])[
        0
    ].values()
    np.testing.assert_allclose(found.boxes[:, 1], [top], atol=1e-5)
