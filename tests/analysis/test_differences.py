"""Detections that only one of two networks has."""

from __future__ import annotations

import numpy as np
import pytest

from qatkit.analysis.differences import best_thresholds, differences, sightings, unmatched
from qatkit.detectnet.clustering import Detections
from qatkit.evaluation.evaluate import ClassResult, OperatingPoint, Result
from tests.support.detections import seen

A, NEAR_A, B = (0.0, 0.0, 50.0, 50.0), (5.0, 0.0, 55.0, 50.0), (100.0, 0.0, 150.0, 50.0)


@pytest.mark.parametrize(
    "found, others, alone",
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([], [(0, 0, A)], [], id="nothing found"),
        pytest.param([(0, 0, A)], [], [True], id="nothing to match"),
        pytest.param([(0, 0, A)], [(0, 0, NEAR_A)], [False], id="same"),
        pytest.param([(0, 0, A)], [(0, 0, B)], [True], id="elsewhere"),
        pytest.param([(0, 0, A)], [(1, 0, A)], [True], id="other frame"),
        pytest.param([(0, 0, A)], [(0, 1, A)], [True], id="other class"),
        pytest.param([(0, 0, A), (0, 0, NEAR_A)], [(0, 0, A)], [False, True], id="one counterpart for two"),
    ],
)
def test_unmatched(found: list[tuple], others: list[tuple], alone: list[bool]) -> None:
    assert unmatched(seen(*found), seen(*others)).tolist() == alone


def test_differences_count_both_sides() -> None:
    found, reference = seen((0, 0, A), (2, 0, A), (2, 1, B)), seen((0, 0, NEAR_A), (1, 0, A), (2, 0, B))
    assert differences(found, reference, 4).tolist() == [0, 1, 3, 0]
    assert differences(seen(), seen(), 2).tolist() == [0, 0]


def found(*items: tuple[tuple[float, ...], float]) -> Detections:
    boxes = np.array([box for box, _ in items], np.float32).reshape(-1, 4)
    confidences = np.array([confidence for _, confidence in items], np.float32)
    return Detections.of(boxes, confidences, confidences, np.ones(len(items), np.int64))


def test_sightings_are_confident_and_sorted() -> None:
    frames = [{0: found((A, 0.5), (B, 0.25)), 1: found((B, 0.5))}, {0: found(), 1: found((A, 2.0))}]
    result = sightings(frames, [0.5, 0.75])
    assert (result.frames.tolist(), result.classes.tolist()) == ([1, 0], [1, 0])
    assert result.boxes.tolist() == [list(A), list(A)] and result.confidences.tolist() == [2.0, 0.5]
    assert result.select(result.frames == 0).boxes.shape == (1, 4)
    assert len(sightings([], [0.5])) == len(sightings(frames, [np.inf, np.inf])) == 0


def test_thresholds() -> None:
    point = OperatingPoint(0.75, 1.0, 1.0, 1.0)
    result = Result(50.0, (ClassResult("car", 100.0, 1, 1, point), ClassResult("bus", 0.0, 1, 0)), 1)
    assert best_thresholds(result) == [0.75, np.inf]
