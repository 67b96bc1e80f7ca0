"""Areas and overlaps of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from qatkit.detectnet.boxes import iou
from tests.support import golden_data

TOPIC = "07_evaluation"

corners = hnp.arrays(np.float64, (3, 2), elements=st.floats(0, 1000))
sizes = hnp.arrays(np.float64, (3, 2), elements=st.floats(0, 1000))
boxes = st.tuples(corners, sizes).map(lambda parts: np.concatenate([parts[0], parts[0] + parts[1]], axis=1))


def test_no_boxes() -> None:
    assert iou(np.empty((0, 1, 4)), np.ones((3, 4))).shape == (0, 3)


@pytest.mark.parametrize(
    "first, second, border, expected",
    [
        ((0, 0, 9, 9), (0, 0, 9, 9), 0, 1),
        ((0, 0, 9, 9), (20, 0, 29, 9), 1, 0),
        ((0, 0, 9, 9), (5, 0, 14, 9), 1, 1 / 3),  # 5 x 10 of 100 + 100 - 50
        ((0, 0, 9, 9), (5, 0, 14, 9), 0, 36 / 126),  # 4 x 9 of 81 + 81 - 36
        ((3, 3, 3, 3), (3, 3, 3, 3), 0, 0),
    ],
)
def test_iou(first: tuple[int, ...], second: tuple[int, ...], border: float, expected: float) -> None:
    got = iou(np.array(first, np.float64), np.array(second, np.float64), border=border)
    assert got == pytest.approx(expected)


def test_regularizer_widens_the_union() -> None:
    box = np.array([0.0, 0.0, 2.0, 2.0])
    assert iou(box, box, regularizer=4) == pytest.approx(0.5)


@given(boxes, boxes)
def test_iou_is_symmetric_and_at_most_one(first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
    overlaps = iou(first[:, None], second)
    np.testing.assert_array_equal(overlaps, iou(second[:, None], first).T)
    assert ((overlaps >= 0) & (overlaps <= 1 + 1e-9)).all()


@golden_data.parametrize(TOPIC, "iou")
@pytest.mark.parametrize("name, border", [("include", 1), ("half", 0), ("exclude", -1)])
def test_golden(case: dict[str, Any], name: str, border: float) -> None:
    one, many = golden_data.array(TOPIC, case, "box"), golden_data.array(TOPIC, case, "boxes")
    got = iou(one.astype(np.float64), many.astype(np.float64), border=border)
    np.testing.assert_allclose(got, golden_data.array(TOPIC, case, f"iou_{name}"), rtol=0, atol=1e-6)
