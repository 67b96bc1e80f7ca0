"""Which detections are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qatkit.errors import SpecError
from qatkit.evaluation import matching
from qatkit.evaluation.matching import Criteria, FrameBoxes, match
from qatkit.spec import EvaluationConfig

Box = tuple[float, float, float, float]

BOX = (0.0, 0.0, 99.0, 99.0)
HALF = (0.0, 0.0, 99.0, 49.0)  # IoU with BOX 100 x 50 of 100 x 100
MOST = (0.0, 0.0, 99.0, 79.0)  # 0.8
AWAY = (200.0, 200.0, 240.0, 240.0)


def frame_boxes(items: list[tuple[int, Box]]) -> FrameBoxes:
    frames = np.array([frame for frame, _ in items], np.int64)
    return FrameBoxes(frames, np.array([box for _, box in items], np.float32).reshape(-1, 4))


@pytest.mark.parametrize(
    "truths, found, right",
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([(0, BOX)], [], [], id="nothing found"),
        pytest.param([], [(0, BOX)], [False], id="nothing there"),
        pytest.param([(0, BOX)], [(0, BOX)], [True], id="found"),
        pytest.param([(0, BOX)], [(1, BOX)], [False], id="in another frame"),
        pytest.param([(0, BOX)], [(0, HALF)], [True], id="as much as the overlap"),
        pytest.param([(0, BOX)], [(0, (0, 0, 99, 48))], [False], id="less than the overlap"),
        pytest.param([(0, BOX)], [(0, MOST), (0, BOX)], [True, False], id="only the first counts"),
        pytest.param([(0, BOX)], [(0, AWAY), (0, BOX)], [False, True], id="a wrong one takes nothing"),
        pytest.param([(0, BOX), (0, MOST)], [(0, BOX), (0, BOX)], [True, False], id="no second choice"),
        pytest.param([(0, BOX), (0, MOST)], [(0, BOX), (0, MOST)], [True, True], id="each its own"),
        pytest.param([(3, BOX), (1, AWAY)], [(1, AWAY), (2, BOX), (3, BOX)], [True, False, True], id="unsorted"),
    ],
)
def test_match(truths: list[tuple[int, Box]], found: list[tuple[int, Box]], right: list[bool]) -> None:
    np.testing.assert_array_equal(match(frame_boxes(truths), frame_boxes(found), 0.5), right)


def test_coordinates_are_rounded_halves_to_even() -> None:
    truth, found = [(0, (0.0, 0.0, 9.0, 9.0))], [(0, (0.5, 0.0, 8.5, 9.0))]  # 0.5 -> 0, 8.5 -> 8: 90 of 100
    assert match(frame_boxes(truth), frame_boxes(found), 0.9).tolist() == [True]
    assert match(frame_boxes(truth), frame_boxes(found), 0.91).tolist() == [False]


def by_loops(truths: FrameBoxes, found: FrameBoxes, min_overlap: float) -> list[bool]:
    """The rule of the docstring, one detection after the other."""
    taken, right = set(), []
    for frame, box in zip(found.frames, np.rint(found.boxes), strict=True):
        best, most = -1, -1.0
        for index in np.flatnonzero(truths.frames == frame):
            other = np.rint(truths.boxes[index])
            width, height = (
                np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]) + 1
            ).clip(0)  # fmt: skip
            areas = [np.prod(one[2:] - one[:2] + 1) for one in (box, other)]
            overlap = width * height / (sum(areas) - width * height)
            if overlap > most:
                best, most = index, overlap
        right.append(best >= 0 and most >= min_overlap and best not in taken)
        if most >= min_overlap:
            taken.add(best)
    return right


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.integers(0, 25), st.integers(0, 2**32 - 1))
def test_as_the_plain_loops(objects: int, detections: int, seed: int) -> None:
    random = np.random.default_rng(seed)

    def boxes(count: int) -> FrameBoxes:
        corners = random.integers(0, 12, (count, 2))
        sides = np.concatenate([corners, corners + random.integers(1, 12, (count, 2))], axis=1)
        return FrameBoxes(random.integers(0, 3, count), sides.astype(np.float32))

    truths, found = boxes(objects), boxes(detections)
    np.testing.assert_array_equal(match(truths, found, 0.5), by_loops(truths, found, 0.5))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = frame_boxes([(frame, BOX) for frame in range(4)])
    found = frame_boxes([(frame, box) for box in (BOX, MOST) for frame in range(4)])
    monkeypatch.setattr(matching, "_BLOCK", 3)
    np.testing.assert_array_equal(match(truths, found, 0.5), [True] * 4 + [False] * 4)


@pytest.mark.parametrize(
    "box, admitted",
    [
        ((0, 0, 20, 10), True),  # both ends of both ranges
        ((0, 0, 40, 30), True),
        ((0, 0, 19.75, 10), False),
        ((0, 0, 20, 9.75), False),
        ((0, 0, 40.25, 30), False),
        ((0, 0, 40, 30.25), False),
    ],
)
def test_size(box: Box, admitted: bool) -> None:
    criteria = Criteria(0.5, min_width=20, max_width=40, min_height=10, max_height=30)
    assert criteria.admits(np.array([box], np.float32)).tolist() == [admitted]


def config() -> EvaluationConfig:
    message = EvaluationConfig(minimum_detection_ground_truth_overlap={"car": 0.75})
    size = message.evaluation_box_config["car"]
    size.minimum_width, size.maximum_width, size.minimum_height, size.maximum_height = 1, 2, 3, 4
    return message


def test_from_spec() -> None:
    assert Criteria.from_spec(config(), "car") == Criteria(0.75, 1, 2, 3, 4)


@pytest.mark.parametrize("field", ["minimum_detection_ground_truth_overlap", "evaluation_box_config"])
def test_from_spec_names_what_is_missing(field: str) -> None:
    message = config()
    del getattr(message, field)["car"]
    with pytest.raises(SpecError, match=f"evaluation_config.{field} has no entry for class 'car'"):
        Criteria.from_spec(message, "car")


@pytest.mark.parametrize("overlap", [-0.1, 1.1, float("nan")])
def test_refused(overlap: float) -> None:
    with pytest.raises(SpecError, match="minimum_detection_ground_truth_overlap must"):
        Criteria(overlap)


def test_a_detection_per_object_at_most() -> None:
    everywhere: NDArray[np.int64] = np.zeros(50, np.int64)
    same = FrameBoxes(everywhere, np.tile(np.array(BOX, np.float32), (50, 1)))
    assert match(frame_boxes([(0, BOX), (0, AWAY)]), same, 0.5).sum() == 1
