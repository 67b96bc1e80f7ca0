"""Clustering: by hand, and against the reference vectors (1e-3 pixels, 1e-5 of confidence)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qatkit.detectnet.boxes import iou
from qatkit.detectnet.clustering import Algorithm, ClusteringParams, Detections, cluster, nms
from qatkit.errors import SpecError
from qatkit.spec import ClusteringConfig
from tests.support import golden_data

TOPIC = "06_postprocessing"

DBSCAN = ClusteringParams(
    Algorithm.DBSCAN, coverage_threshold=0.005, minimum_bounding_box_height=4, dbscan_eps=0.3, dbscan_min_samples=0.05
)
NMS = replace(DBSCAN, algorithm=Algorithm.NMS, nms_iou_threshold=0.3, nms_confidence_threshold=0.2)
HYBRID = replace(NMS, algorithm=Algorithm.HYBRID)

BOX = (10.0, 20.0, 110.0, 70.0)
NEARLY = (10.0, 20.0, 120.0, 70.0)  # IoU with BOX 100 / 110
ELSEWHERE = (200.0, 200.0, 260.0, 260.0)
LOW = (10.0, 20.0, 110.0, 24.0)


def run(cells: list[tuple[tuple[float, ...], float]], params: ClusteringParams) -> Detections:
    boxes = np.array([box for box, _ in cells], np.float32).reshape(-1, 4)
    return cluster(boxes, np.array([coverage for _, coverage in cells], np.float32), params)


@pytest.mark.parametrize("params", [DBSCAN, NMS, HYBRID], ids=lambda params: params.algorithm.name)
@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([], id="empty"),
        pytest.param([(BOX, 0.005)], id="not above the threshold"),
        pytest.param([(BOX, float("nan")), ((float("nan"), 0.0, 9.0, 9.0), 0.9)], id="not a number"),
    ],
)
def test_nothing(cells: list[tuple[tuple[float, ...], float]], params: ClusteringParams) -> None:
    detections = run(cells, params)
    assert len(detections) == 0
    assert detections.boxes.shape == (0, 4)


def test_dbscan_merges_weighted_by_coverage() -> None:
    detections = run([(BOX, 0.6), (ELSEWHERE, 0.3), (NEARLY, 0.5)], DBSCAN)
    np.testing.assert_allclose(detections.boxes, [(10, 20, 110 + 10 * 5 / 11, 70), ELSEWHERE], rtol=1e-6)
    np.testing.assert_allclose(detections.confidences, [1.1, 0.3], rtol=1e-6)
    np.testing.assert_allclose(detections.coverages, [0.55, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(detections.cells, [2, 1])
    assert {detections.boxes.dtype, detections.confidences.dtype, detections.coverages.dtype} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    "change, cells, confidences",
    [
        pytest.param({"dbscan_min_samples": 1.0}, [(BOX, 0.6), (NEARLY, 0.5)], [1.1], id="sum of coverages"),
        pytest.param({"dbscan_min_samples": 1.0}, [(BOX, 0.95)], [], id="one cell never reaches 1"),
        pytest.param({"dbscan_min_samples": 0.05}, [(BOX, 0.95)], [0.95], id="a fraction counts as given"),
        pytest.param({"dbscan_min_samples": 0.05}, [(BOX, 0.04)], [], id="less than the fraction"),
        pytest.param({"dbscan_min_samples": 0.0}, [(BOX, 0.01)], [0.01], id="zero lets all cells stand"),
        pytest.param({"dbscan_eps": 0.05}, [(BOX, 0.6), (NEARLY, 0.5)], [0.6, 0.5], id="too far apart"),
        pytest.param({"dbscan_eps": 0.0}, [(BOX, 0.6), (BOX, 0.5), (NEARLY, 0.4)], [1.1, 0.4], id="only equal boxes"),
        pytest.param({"dbscan_confidence_threshold": 0.9}, [(BOX, 0.9)], [0.9], id="as much as the threshold"),
        pytest.param({"dbscan_confidence_threshold": 0.9}, [(BOX, 0.89)], [], id="less than the threshold"),
        pytest.param({"confidence_model": "mean_cov"}, [(BOX, 0.6), (NEARLY, 0.5)], [0.55], id="mean"),
        pytest.param({}, [(LOW, 0.9)], [], id="not higher than the minimum"),
        pytest.param({"minimum_bounding_box_height": 3.9}, [(LOW, 0.9)], [0.9], id="higher than the minimum"),
        pytest.param({"dbscan_min_samples": 0.05, "compat": "tao-evaluate"}, [(BOX, 0.95)], [], id="TAO cuts to 1"),
        pytest.param(
            {"dbscan_min_samples": 2.7, "compat": "tao-evaluate"}, [(BOX, 1.0)] * 2, [2.0], id="TAO cuts to 2"
        ),
        pytest.param(
            {"dbscan_confidence_threshold": 1.0, "compat": "tao-inference"}, [(BOX, 1.0)], [], id="TAO wants more"
        ),
    ],
)
def test_dbscan_parameters(
    change: dict[str, Any], cells: list[tuple[tuple[float, ...], float]], confidences: list[float]
) -> None:
    np.testing.assert_allclose(run(cells, replace(DBSCAN, **change)).confidences, confidences, rtol=1e-6)


def test_nms_reports_the_coverage_of_the_kept_cell() -> None:
    detections = run([(BOX, 0.3), (NEARLY, 0.9), (ELSEWHERE, 0.6), (LOW, 0.2)], NMS)
    np.testing.assert_array_equal(detections.boxes, [NEARLY, ELSEWHERE])
    np.testing.assert_allclose(detections.confidences, [0.9, 0.6])
    np.testing.assert_array_equal(detections.cells, [1, 1])


def test_nms_has_no_minimum_bounding_box_height() -> None:
    np.testing.assert_array_equal(run([(LOW, 0.9)], NMS).boxes, [LOW])


def test_tao_nms_reports_another_cells_coverage() -> None:
    detections = run([(BOX, 0.3), (NEARLY, 0.9), (ELSEWHERE, 0.6)], replace(NMS, compat="tao-evaluate"))
    np.testing.assert_allclose(detections.confidences, [0.6, 0.0])


def test_hybrid_suppresses_within_clusters_that_survive() -> None:
    params = replace(HYBRID, dbscan_confidence_threshold=1.0)
    detections = run([(BOX, 0.6), (ELSEWHERE, 0.8), (NEARLY, 0.5)], params)
    np.testing.assert_array_equal(detections.boxes, [BOX])
    np.testing.assert_allclose(detections.confidences, [0.6])
    assert len(run([(ELSEWHERE, 0.8)], params)) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_nms_keeps_boxes_that_overlap_little(count: int, threshold: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 80, (count, 2))], axis=1).astype(np.float32)
    scores = random.uniform(0, 1, count).astype(np.float32)
    kept = nms(boxes, scores, threshold)
    overlaps = iou(boxes[kept, None], boxes, border=1)
    among_kept = overlaps[:, kept]
    assert (among_kept[~np.eye(len(kept), dtype=bool)] <= threshold).all()
    assert (np.diff(scores[kept]) <= 0).all()
    dropped = np.setdiff1d(np.arange(count), kept)
    assert (overlaps[:, dropped].max(axis=0, initial=-1) > threshold).all()


def test_scaled() -> None:
    scaled = run([(BOX, 0.9)], DBSCAN).scaled(2, 0.5)
    np.testing.assert_allclose(scaled.boxes, [(20, 10, 220, 35)])
    np.testing.assert_allclose(scaled.confidences, [0.9])


SPEC = ClusteringConfig(
    clustering_algorithm="NMS",
    coverage_threshold=0.25,
    minimum_bounding_box_height=20,
    dbscan_eps=0.5,
    dbscan_min_samples=0.125,
    dbscan_confidence_threshold=0.75,
    nms_iou_threshold=0.375,
    nms_confidence_threshold=0.0625,
)


def test_from_spec() -> None:
    expected = ClusteringParams(Algorithm.NMS, 0.25, 20, 0.5, 0.125, 0.75, 0.375, 0.0625)
    assert ClusteringParams.from_spec(SPEC) == expected


def test_from_spec_swaps_for_tao_only() -> None:
    swapped = ClusteringParams.from_spec(SPEC, compat="tao-evaluate")
    assert (swapped.dbscan_confidence_threshold, swapped.nms_confidence_threshold) == (0.0625, 0.75)


@pytest.mark.parametrize(
    "compat, iou_threshold, confidence",
    [("none", 0.3, 0.0), ("tao-evaluate", 0.0, 0.0), ("tao-inference", 0.3, 0.1)],
)
def test_unset_nms_thresholds(compat: Any, iou_threshold: float, confidence: float) -> None:
    params = ClusteringParams.from_spec(ClusteringConfig(), compat=compat)
    assert (params.nms_iou_threshold, params.nms_confidence_threshold) == (iou_threshold, confidence)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"coverage_threshold": 1.5}, "coverage_threshold must lie in 0..1"),
        ({"dbscan_eps": -0.1}, "dbscan_eps must lie in 0..1"),
        ({"nms_iou_threshold": float("nan")}, "nms_iou_threshold must lie in 0..1"),
        ({"dbscan_min_samples": -1}, "dbscan_min_samples must not be negative"),
        ({"minimum_bounding_box_height": -1}, "minimum_bounding_box_height must not be negative"),
        ({"confidence_model": "mlp"}, "confidence_model must be"),
        ({"compat": "tlt"}, "compat must be one of"),
        ({"compat": "tao-evaluate", "algorithm": Algorithm.HYBRID}, "no HYBRID"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(DBSCAN, **change)


def golden_params(case: dict[str, Any], **change: Any) -> ClusteringParams:
    """The parameters of a case; the two original implementations name them differently."""
    algorithm = Algorithm[case["clustering_algorithm"].upper()]
    nms_thresholds = (case["nms_iou_threshold"], case["nms_confidence_threshold"])
    if case["path"] == "evaluation":
        keys = ("coverage_threshold", "minimum_bounding_box_height", "dbscan_eps", "dbscan_min_samples")
        values = (*(case[key] for key in keys), case["dbscan_confidence_threshold"])
        params = ClusteringParams(algorithm, *values, *nms_thresholds, compat="tao-evaluate")
    else:
        keys = ("min_weight", "min_height", "eps", "min_samples", "confidence_threshold")
        values = tuple(case[key] for key in keys)
        params = ClusteringParams(
            algorithm, *values, *nms_thresholds, confidence_model=case["confidence_model"], compat="tao-inference"
        )
    return replace(params, **change)


def golden_frames(case: dict[str, Any], params: ClusteringParams) -> list[tuple[Detections, dict[str, NDArray[Any]]]]:
    """What is found in each frame of a case, and what should be."""
    boxes, coverages = golden_data.array(TOPIC, case, "raw_bbox"), golden_data.array(TOPIC, case, "raw_cov")
    ends = np.cumsum(golden_data.array(TOPIC, case, "det_num_detections"))
    frames = []
    for frame, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        cells = boxes[frame].transpose(1, 2, 0).reshape(-1, 4)
        names = [name for name in case["arrays"] if name.startswith("det_") and name != "det_num_detections"]
        expected = {name: golden_data.array(TOPIC, case, name)[begin:end] for name in names}
        frames.append((cluster(cells, coverages[frame].ravel(), params), expected))
    return frames


def check(detections: Detections, expected: dict[str, NDArray[Any]]) -> None:
    assert len(detections) == len(expected["det_bbox"])
    np.testing.assert_allclose(detections.boxes, expected["det_bbox"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(detections.confidences, expected["det_confidence"], rtol=1e-5, atol=1e-6)


@golden_data.parametrize(TOPIC, "eval_", "infer_", compat=True)
def test_golden_compat(case: dict[str, Any]) -> None:
    for detections, expected in golden_frames(case, golden_params(case)):
        check(detections, expected)
        if case["clustering_algorithm"] == "dbscan":
            cells = expected.get("det_num_raw_bboxes", expected.get("det_num_raw_boxes"))
            np.testing.assert_array_equal(detections.cells, cells)


@golden_data.parametrize(TOPIC, "eval_dbscan", "infer_dbscan")
def test_golden_dbscan(case: dict[str, Any]) -> None:
    """Without compat, but with the whole number of samples that the reference used, DBSCAN finds the same."""
    params = golden_params(case, compat="none", confidence_model="aggregate_cov")
    if case.get("confidence_model") == "mean_cov":
        pytest.skip("the reference's mean_cov is not a mean")
    for detections, expected in golden_frames(
        case, replace(params, dbscan_min_samples=max(int(params.dbscan_min_samples), 1))
    ):
        check(detections, expected)


@golden_data.parametrize(TOPIC, "eval_nms", "infer_nms")
def test_golden_nms(case: dict[str, Any]) -> None:
    """Without compat NMS finds the same boxes, but each with its own coverage."""
    boxes, coverages = golden_data.array(TOPIC, case, "raw_bbox"), golden_data.array(TOPIC, case, "raw_cov")
    for frame, (detections, expected) in enumerate(golden_frames(case, golden_params(case, compat="none"))):
        assert set(map(tuple, detections.boxes)) == set(map(tuple, expected["det_bbox"].astype(np.float32)))
        cells = boxes[frame].reshape(4, -1).T
        for box, confidence in zip(detections.boxes, detections.confidences, strict=True):
            assert confidence in coverages[frame].ravel()[(cells == box).all(axis=1)]


@golden_data.parametrize(TOPIC, "keep")
def test_golden_kept_indices(case: dict[str, Any]) -> None:
    boxes, scores = golden_data.array(TOPIC, case, "boxes"), golden_data.array(TOPIC, case, "scores")
    kept = nms(boxes, scores, case["nms_iou_threshold"])
    np.testing.assert_array_equal(kept[scores[kept] > case["threshold"]], golden_data.array(TOPIC, case, "keep"))


@golden_data.parametrize(TOPIC, "spec_mapping", compat=True)
def test_golden_spec_mapping(case: dict[str, Any]) -> None:
    params = ClusteringParams.from_spec(ClusteringConfig(**case["spec"]), compat="tao-evaluate")
    effective = case["effective"]
    assert params.algorithm.name.lower() == effective["clustering_algorithm"]
    assert params.minimum_bounding_box_height == effective["minimum_bounding_box_height"]
    for name in ("coverage_threshold", "dbscan_eps", "dbscan_min_samples", "nms_iou_threshold"):
        assert getattr(params, name) == effective[name]
    for name in ("dbscan_confidence_threshold", "nms_confidence_threshold"):
        assert getattr(params, name) == effective[name]
