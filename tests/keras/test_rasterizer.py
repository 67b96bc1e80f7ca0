"""Target maps: by hand, against the reference vectors (1e-5), and as tf.data uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qatkit.detectnet.grid import Grid, decode
from qatkit.errors import SpecError
from qatkit.keras.rasterizer import CoverageShape, Rasterizer, Targets
from qatkit.spec import Experiment
from tests.support import golden_data

TOPIC = "02_bbox_rasterizer"
FIELDS = ("cov_center_x", "cov_center_y", "cov_radius_x", "cov_radius_y", "bbox_min_radius")

GRID = Grid(input_width=160, input_height=112, grid_width=10, grid_height=7, scale=35, offset=0.5)
BOX_A = (30.0, 20.0, 110.0, 84.0)
BOX_B = (70.0, 30.0, 140.0, 104.0)
TINY = (100.0, 60.0, 106.0, 72.0)


def rasterizer(classes: int = 1) -> Rasterizer:
    return Rasterizer(GRID, [CoverageShape(0.5, 0.5, 0.4, 0.4, 1.0)] * classes, deadzone_radius=0.67)


def frame_targets(drawer: Rasterizer, boxes: tf.Tensor, class_ids: tf.Tensor) -> Targets:
    """The target maps of one frame: boxes [n, 4], class_ids [n]."""
    return Targets(*(maps[0] for maps in drawer.batch_targets(boxes[None], class_ids[None])))


def draw(boxes: list[tuple[float, ...]], class_ids: list[int], classes: int = 1) -> Targets:
    coordinates = np.array(boxes, np.float32).reshape(-1, 4)
    maps = frame_targets(rasterizer(classes), coordinates, np.array(class_ids, np.int32))
    return Targets(*(values.numpy() for values in maps))


def coverage_map(row: int, column: int, values: list[list[float]]) -> NDArray[np.float32]:
    """A map [h, w] with `values` from (row, column) on."""
    expected = np.zeros((GRID.grid_height, GRID.grid_width), np.float32)
    expected[row : row + len(values), column : column + len(values[0])] = values
    return expected


CASES_BY_HAND = [
    pytest.param([], coverage_map(0, 0, [[0]]), id="none"),
    pytest.param(
        [BOX_A], coverage_map(2, 3, [[0.375, 0.75, 0.1875], [0.6875, 1, 0.4375], [0.0625, 0.25, 0]]), id="A"
    ),
    pytest.param(
        [BOX_B, BOX_A],  # the order given does not matter: B ends lower, so it is drawn over A
        coverage_map(
            2,
            3,
            [
                [0.375, 0.75, 0, 0, 0],  # B's deadzone erased A at column 5
                [0.6875, 1, 0.1875, 0.75, 0.3125],
                [0.0625, 0.25, 0.375, 1, 0.4375],
                [0, 0, 0, 0.25, 0],
            ],
        ),
        id="A and B",
    ),
    pytest.param(
        [TINY],
        coverage_map(2, 5, [[0, 0.25, 0], [0.4375, 1, 0.375], [0.5, 1, 0.4375], [0.0625, 0.5, 0.0625]]),
        id="tiny",
    ),
]


@pytest.mark.parametrize("boxes, expected", CASES_BY_HAND)
def test_coverage(boxes: list[tuple[float, ...]], expected: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(draw(boxes, [0] * len(boxes)).cov[..., 0], expected)


def test_geometry_by_hand() -> None:
    boxes = np.array([BOX_A, BOX_B, TINY], np.float32)
    ellipses = rasterizer().ellipses(boxes, np.zeros(3, np.int32))
    np.testing.assert_allclose(ellipses.center[:2], [(4.375, 3.25), (6.5625, 4.1875)])
    np.testing.assert_allclose(ellipses.radius, [(1.25, 1.0), (1.0, 1.057143), (1.0, 1.5)], rtol=1e-6)
    np.testing.assert_allclose(ellipses.deadzone[:2], [(2.0875, 1.67), (1.795625, 1.898232)], rtol=1e-6)
    np.testing.assert_array_equal(ellipses.deadzone[2], ellipses.radius[2])
    np.testing.assert_allclose(ellipses.inv_area, [0.2, 0.236486, 1 / 6], rtol=1e-5)


def test_bbox_and_norm_by_hand() -> None:
    targets = draw([BOX_A, BOX_B], [0, 0])
    np.testing.assert_allclose(targets.bbox[3, 4], (0.985714, 0.814286, 1.3, 1.014286), atol=1e-6)
    np.testing.assert_allclose(targets.bbox[2, 3], (0.528571, 0.357143, 1.757143, 1.471429), atol=1e-6)
    np.testing.assert_allclose(targets.bbox[3, 5], (0.3, 0.528571, 1.7, 1.585714), atol=1e-6)
    np.testing.assert_allclose(targets.cov_norm[3, 4], 0.2, rtol=1e-6)
    np.testing.assert_allclose(targets.cov_norm[4, 6], 0.236486, rtol=1e-5)
    np.testing.assert_array_equal(targets.bbox[targets.cov[..., 0] == 0], 0)


def test_classes_do_not_interact() -> None:
    both = draw([BOX_A, BOX_B], [1, 0], classes=2)
    alone = [draw([BOX_B], [0]), draw([BOX_A], [0])]
    for index, single in enumerate(alone):
        np.testing.assert_array_equal(both.cov[..., index : index + 1], single.cov)
        np.testing.assert_array_equal(both.cov_norm[..., index : index + 1], single.cov_norm)
        np.testing.assert_array_equal(both.bbox[..., 4 * index : 4 * index + 4], single.bbox)


def test_of_equal_boxes_the_later_is_drawn_last() -> None:
    wide, narrow = (30.0, 20.0, 110.0, 84.0), (50.0, 20.0, 90.0, 84.0)
    assert draw([wide, narrow], [0, 0]).bbox[3, 4, 0] == pytest.approx((64.5 - 50) / 35)
    assert draw([narrow, wide], [0, 0]).bbox[3, 4, 0] == pytest.approx((64.5 - 30) / 35)


def test_padding_and_batches_change_nothing() -> None:
    boxes = np.array([[BOX_A, BOX_B], [TINY, BOX_A]], np.float32)
    padded = np.concatenate([np.full((2, 1, 4), np.nan, np.float32), boxes, np.zeros((2, 2, 4), np.float32)], axis=1)
    class_ids = np.array([[-1, 0, 1, -1, -1], [-1, 1, 0, -1, -1]], np.int32)
    batch = rasterizer(2).batch_targets(padded, class_ids)
    for frame in range(2):
        single = draw([*boxes[frame]], [*class_ids[frame, 1:3]], classes=2)
        for got, expected in zip(batch, single, strict=True):
            np.testing.assert_array_equal(got[frame], expected)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_inside_tf_data_with_an_unknown_number_of_boxes(count: int) -> None:
    drawer = rasterizer()

    def boxes_of(count: tf.Tensor) -> Targets:
        return frame_targets(drawer, tf.tile([BOX_A], [count, 1]), tf.zeros(count, tf.int32))

    (targets,) = list(tf.data.Dataset.from_tensors(count).map(boxes_of))
    assert targets.bbox.shape == (7, 10, 4)
    np.testing.assert_array_equal(targets.cov, draw([BOX_A] * count, [0] * count).cov)


def experiment() -> Experiment:
    message = Experiment()
    for name in ("car", "person"):
        message.cost_function_config.target_classes.add(name=name)
    message.bbox_rasterizer_config.deadzone_radius = 0.5
    for name, radius in (("person", 0.25), ("car", 0.5)):
        shape = message.bbox_rasterizer_config.target_class_config[name]
        shape.cov_center_x, shape.cov_center_y, shape.bbox_min_radius = 0.5, 0.75, 1.0
        shape.cov_radius_x = shape.cov_radius_y = radius
    return message


def test_from_spec_takes_the_order_of_the_cost_function() -> None:
    built = Rasterizer.from_spec(experiment(), GRID)
    assert built.shapes == (CoverageShape(0.5, 0.75, 0.5, 0.5, 1.0), CoverageShape(0.5, 0.75, 0.25, 0.25, 1.0))
    assert built.deadzone_radius == 0.5


def test_from_spec_names_the_missing_class() -> None:
    message = experiment()
    del message.bbox_rasterizer_config.target_class_config["person"]
    with pytest.raises(SpecError, match=r"bbox_rasterizer_config .* 'person'"):
        Rasterizer.from_spec(message, GRID)


@pytest.mark.parametrize(
    "shape",
    [{"center_x": 1.5}, {"center_y": -0.1}, {"radius_x": 0.0}, {"radius_y": -1.0}, {"min_radius": 0.0}],
)
def test_shapes_refused(shape: dict[str, float]) -> None:
    with pytest.raises(SpecError):
        CoverageShape(**shape)


def test_rasterizer_refused() -> None:
    with pytest.raises(SpecError, match="no class"):
        Rasterizer(GRID, [], 0.5)
    with pytest.raises(SpecError, match="deadzone_radius"):
        Rasterizer(GRID, [CoverageShape()], 1.1)


@settings(max_examples=30, deadline=None)
@given(
    x=st.floats(0, 120), y=st.floats(0, 80), width=st.floats(4, 160), height=st.floats(4, 112),
    radius=st.floats(0.1, 1.0),
)  # fmt: skip
def test_covered_cells_decode_to_their_box(x: float, y: float, width: float, height: float, radius: float) -> None:
    box = np.array([x, y, min(x + width, 160), min(y + height, 112)], np.float32)
    drawer = Rasterizer(GRID, [CoverageShape(radius_x=radius, radius_y=radius)], 0.67)
    targets = drawer.batch_targets(box[None, None], np.zeros((1, 1), np.int32))
    decoded = decode(targets.bbox.numpy().transpose(0, 3, 1, 2), GRID)[0, 0]
    covered = targets.cov.numpy()[0, ..., 0] > 0
    np.testing.assert_allclose(decoded[covered], np.broadcast_to(box, (covered.sum(), 4)), atol=1e-3)


def golden_class_ids(case: dict[str, Any], frame: int) -> NDArray[np.int32]:
    names, mapping = case["target_class_names"], case["target_class_mapping"]
    sources = case["frame_source_classes"][frame]
    return np.array([names.index(mapping[s]) if s in mapping else -1 for s in sources], np.int32)


def golden_rasterizer(case: dict[str, Any]) -> Rasterizer:
    sizes = (case[key] for key in ("input_width", "input_height", "output_width", "output_height"))
    grid = Grid(*sizes, case["bbox_scale"], case["bbox_offset"])
    shapes = [
        CoverageShape(*(case["rasterizer"][name][key] for key in FIELDS)) for name in case["target_class_names"]
    ]
    return Rasterizer(grid, shapes, case["deadzone_radius"])


@golden_data.parametrize(TOPIC)
def test_golden_targets(case: dict[str, Any]) -> None:
    drawer = golden_rasterizer(case)
    for frame in range(len(case["frame_source_classes"])):
        boxes = golden_data.array(TOPIC, case, f"frame{frame}_boxes")
        targets = frame_targets(drawer, boxes, golden_class_ids(case, frame))
        for index, name in enumerate(case["target_class_names"]):
            maps = (
                ("cov", targets.cov[..., index : index + 1]),
                ("bbox", targets.bbox[..., 4 * index : 4 * index + 4]),
                ("cov_norm", targets.cov_norm[..., index : index + 1]),
            )
            for kind, got in maps:
                expected = golden_data.array(TOPIC, case, f"target_{name}_{kind}")[frame].transpose(1, 2, 0)
                np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5, err_msg=f"frame {frame} {name} {kind}")


@golden_data.parametrize(TOPIC)
def test_golden_geometry(case: dict[str, Any]) -> None:
    """The reference has the deadzone as a matrix from grid to unit circle, and the coverage relative to it."""
    drawer = golden_rasterizer(case)
    for frame in range(len(case["frame_source_classes"])):
        class_ids = golden_class_ids(case, frame)
        mapped = class_ids >= 0
        boxes = golden_data.array(TOPIC, case, f"frame{frame}_boxes")[mapped]
        ellipses = drawer.ellipses(boxes, class_ids[mapped])
        matrices = golden_data.array(TOPIC, case, f"frame{frame}_bbox_matrices").reshape(-1, 3, 3)
        expected = {
            "coverage_radii": ellipses.radius / ellipses.deadzone,
            "inv_bbox_area": ellipses.inv_area,
            "class_ids": class_ids[mapped],
            "sort_values": boxes[:, 3] / np.float32(drawer.grid.pitch_y),
        }
        for name, got in expected.items():
            stored = golden_data.array(TOPIC, case, f"frame{frame}_{name}")
            np.testing.assert_allclose(np.reshape(got, stored.shape), stored, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(matrices[:, [0, 1], [0, 1]], 1 / ellipses.deadzone, rtol=1e-5)
        np.testing.assert_allclose(matrices[:, 2, :2], -ellipses.center / ellipses.deadzone, rtol=1e-4, atol=1e-5)
