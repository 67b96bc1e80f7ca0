"""Outputs -> boxes: by hand and against the reference vectors (1e-3 pixels)."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from qatkit.detectnet.grid import Grid, decode
from qatkit.keras.augmentation import transform_boxes
from tests.support import golden_data

TOPIC = "03_bbox_decode"
GRID = Grid(input_width=32, input_height=16, grid_width=2, grid_height=1, scale=10, offset=0.5)


def grid_of(case: dict[str, Any]) -> Grid:
    sizes = (case[key] for key in ("input_width", "input_height", "output_width", "output_height"))
    return Grid(*sizes, case["bbox_scale"], case["bbox_offset"])


def test_no_frames() -> None:
    assert decode(np.empty((0, 8, 1, 2), np.float32), GRID).shape == (0, 2, 1, 2, 4)


def test_by_hand() -> None:
    bbox = np.zeros((1, 8, 1, 2), np.float32)
    bbox[0, :4, 0, 1] = (0.3, 0.01, 0.5, 0.7)  # first class, second cell, whose reference is (16.5, 0.5)
    bbox[0, 4:, 0, 0] = (9, 9, 9, 9)  # second class, first cell: over every border
    boxes = decode(bbox, GRID)
    np.testing.assert_allclose(boxes[0, 0, 0, 1], (13.5, 0.4, 21.5, 7.5), atol=1e-5)
    np.testing.assert_allclose(boxes[0, 1, 0, 0], (0, 0, 32, 16))
    np.testing.assert_allclose(boxes[0, 0, 0, 0], (0.5, 0.5, 0.5, 0.5))


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (1, 4, 1, 2), elements=st.floats(-100, 100, width=32)))
def test_boxes_lie_in_the_image_and_are_not_inside_out(bbox: NDArray[np.float32]) -> None:
    x1, y1, x2, y2 = np.moveaxis(decode(bbox, GRID), -1, 0)
    assert (x1 >= 0).all() and (x2 >= x1).all() and (x2 <= GRID.input_width).all()
    assert (y1 >= 0).all() and (y2 >= y1).all() and (y2 <= GRID.input_height).all()


@golden_data.parametrize(TOPIC, "case")
def test_golden(case: dict[str, Any]) -> None:
    prediction = golden_data.array(TOPIC, case, "bbox_prediction")
    frames, classes, sides, height, width = prediction.shape
    boxes = decode(prediction.reshape(frames, classes * sides, height, width), grid_of(case))
    expected = golden_data.array(TOPIC, case, "bbox_absolute").transpose(0, 1, 3, 4, 2)
    np.testing.assert_allclose(boxes, expected, rtol=0, atol=1e-3)


@golden_data.parametrize(TOPIC, "case")
def test_golden_transformed(case: dict[str, Any]) -> None:
    """The reference moves two corners of each box, augmentation all four: the same where nothing rotates, else their
    box lies in ours."""
    boxes = golden_data.array(TOPIC, case, "bbox_absolute").transpose(0, 1, 3, 4, 2)
    expected = golden_data.array(TOPIC, case, "bbox_absolute_transformed").transpose(0, 1, 3, 4, 2)
    for frame, matrix in enumerate(golden_data.array(TOPIC, case, "spatial_matrix")):
        inverse = np.linalg.inv(matrix.astype(np.float64)).astype(np.float32)
        found = transform_boxes(boxes[frame].reshape(-1, 4), inverse).numpy()
        theirs = expected[frame].reshape(-1, 4)
        error = 1e-3 + 1e-4 * np.abs(theirs)
        if matrix[0, 1] == matrix[1, 0] == 0:
            assert (np.abs(found - theirs) <= error).all()
        else:
            assert (found[:, :2] <= theirs[:, :2] + error[:, :2]).all()
            assert (found[:, 2:] >= theirs[:, 2:] - error[:, 2:]).all()


@golden_data.parametrize(TOPIC, "roundtrip")
def test_golden_roundtrip(case: dict[str, Any]) -> None:
    boxes = decode(golden_data.array(TOPIC, case, "bbox_target"), grid_of(case))
    expected = golden_data.array(TOPIC, case, "bbox_absolute").transpose(0, 2, 3, 1)
    np.testing.assert_allclose(boxes[:, 0], expected, rtol=0, atol=1e-3)
