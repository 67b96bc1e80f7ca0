import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.dataset.batches import clip_boxes
from qatkit.keras import augmentation
from qatkit.spec import AugmentationConfig
from tests.support import golden_data

TOPIC = "05_augmentation"
TOLERANCE = 2e-5  # of the reference vectors, absolute; relative for numbers of hundreds of pixels


def _columns(case: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(golden_data.array(TOPIC, case, name) for name in names)))


def _close(found: list[tf.Tensor], expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.stack(found), expected, rtol=TOLERANCE, atol=TOLERANCE)


@golden_data.parametrize(TOPIC, "matrices")
def test_spatial_matrices(case: dict[str, Any]) -> None:
    sizes = _columns(case, "width", "height")
    flips = _columns(case, "flip_h", "flip_v", "width", "height")
    _close([augmentation.flip(float(h), float(v), *size) for h, v, *size in flips], _out(case, "flip"))
    turns = _columns(case, "theta_rad", "width", "height")
    _close([augmentation.rotation(*turn) for turn in turns], _out(case, "rotation"))
    shifts = _columns(case, "translate_x", "translate_y")
    _close([augmentation.translation(*shift) for shift in shifts], _out(case, "translation"))
    ratios = _columns(case, "zoom_x", "zoom_y")
    _close([augmentation.zoom(*ratio, 0.0, 0.0) for ratio in ratios], _out(case, "zoom"))
    # The place (W - W / r) / 2 keeps the centre where it is.
    places = [((w - w / x) / 2, (h - h / y) / 2) for (w, h), (x, y) in zip(sizes, ratios)]
    centered = [augmentation.zoom(*ratio, *place) for ratio, place in zip(ratios, places)]
    _close(centered, _out(case, "zoom_centered"))


@golden_data.parametrize(TOPIC, "matrices")
def test_color_matrices(case: dict[str, Any]) -> None:
    contrasts = _columns(case, "contrast", "contrast_center")
    _close([augmentation.contrast(*values) for values in contrasts], _out(case, "contrast"))
    hues = [(math.radians(h), s) for h, s in _columns(case, "hue_degrees", "saturation")]
    _close([augmentation.hue_saturation(*values) for values in hues], _out(case, "hue_saturation"))
    offsets = golden_data.array(TOPIC, case, "brightness_offset").astype(np.float32)
    _close([augmentation.brightness(offset) for offset in offsets], _out(case, "brightness"))


def _out(case: dict[str, Any], name: str) -> np.ndarray:
    return golden_data.array(TOPIC, case, f"out_{name}")


@golden_data.parametrize(TOPIC, "image_")
def test_warp_and_recolor(case: dict[str, Any]) -> None:
    image, inverse, color = (golden_data.array(TOPIC, case, n) for n in ("image", "inverse_matrix", "color_matrix"))
    size = case["output_width"], case["output_height"]
    warped = augmentation.warp(image, inverse.astype(np.float32), *size, background=case["background"]["bilinear"])
    np.testing.assert_allclose(warped, _out(case, "spatial_bilinear"), atol=TOLERANCE)
    recolored = augmentation.recolor(warped, color.astype(np.float32))
    np.testing.assert_allclose(recolored, _out(case, "spatial_then_color"), atol=TOLERANCE)


@golden_data.parametrize(TOPIC, "image_")
def test_boxes_move_with_the_image(case: dict[str, Any]) -> None:
    """The reference transforms two corners, which is right for matrices that do not rotate."""
    inverse = golden_data.array(TOPIC, case, "inverse_matrix").astype(np.float32)
    boxes = golden_data.array(TOPIC, case, "boxes_ltrb").astype(np.float32)
    found = augmentation.transform_boxes(boxes, inverse).numpy()
    expected = _out(case, "boxes_ltrb")
    if abs(inverse[0, 1]) < 1e-6 and abs(inverse[1, 0]) < 1e-6:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    else:  # the four corners include the two
        assert (found[:, :2] <= expected[:, :2] + 1e-3).all() and (found[:, 2:] >= expected[:, 2:] - 1e-3).all()


def _reference_limits(case: dict[str, Any]) -> AugmentationConfig.ColorAugmentation:
    names = [field.name for field in AugmentationConfig.ColorAugmentation.DESCRIPTOR.fields]
    return AugmentationConfig.ColorAugmentation(**{name: case[name] for name in names})


@golden_data.parametrize(TOPIC, "random_color_")
def test_random_colors_are_distributed_as_in_tao(case: dict[str, Any]) -> None:
    """600 draws each: means within 5 standard errors, standard deviations within 20 %."""
    expected = golden_data.array(TOPIC, case, "matrices")
    limits = _reference_limits(case)
    draw = tf.function(lambda number: augmentation.random_color(limits, tf.stack([tf.constant(3, tf.int64), number])))
    found = np.stack([draw(tf.constant(number, tf.int64)) for number in range(len(expected))])
    error = 5 * np.maximum(expected.std(0), found.std(0)) * math.sqrt(2 / len(expected)) + 1e-5
    np.testing.assert_array_less(np.abs(found.mean(0) - expected.mean(0)), error)
    np.testing.assert_allclose(found.std(0), expected.std(0), rtol=0.2, atol=1e-5)
    extent = np.abs(expected - expected.mean(0)).max(0)
    np.testing.assert_array_less(np.abs(found - expected.mean(0)).max(0), 1.3 * extent + 1e-4)


@golden_data.parametrize(TOPIC, "random_spatial_")
def test_random_positions_are_distributed_as_in_tao(case: dict[str, Any]) -> None:
    """600 draws each. The reference's are of TAO's older loader: the same matrices, but that they lead the other way
    and that the limit of the rotation is in radians."""
    expected = golden_data.array(TOPIC, case, "matrices")
    names = [field.name for field in AugmentationConfig.SpatialAugmentation.DESCRIPTOR.fields if field.name in case]
    limits = AugmentationConfig.SpatialAugmentation(**{name: case[name] for name in names})
    limits.rotate_rad_max = math.degrees(case["rotate_rad_max"])
    found = _draws(limits, count=len(expected), size=(case["width"], case["height"]))
    for sign in (1, -1):  # of the x axis: images that are mirrored, or not
        ours, theirs = (draws[np.sign(draws[:, 0, 0]) == sign] for draws in (found, expected))
        assert abs(len(ours) - len(theirs)) <= 5 * math.sqrt(len(expected) / 2)
        if len(theirs) > 1:
            error = 5 * np.maximum(theirs.std(0), ours.std(0)) * math.sqrt(2 / min(len(ours), len(theirs))) + 1e-3
            np.testing.assert_array_less(np.abs(ours.mean(0) - theirs.mean(0)), error)
            np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.25, atol=1e-3)
            extent = (theirs.max(0) - theirs.min(0)) / 10 + 1e-3
            assert (ours.min(0) >= theirs.min(0) - extent).all() and (ours.max(0) <= theirs.max(0) + extent).all()


def _limits(**values: float) -> AugmentationConfig.SpatialAugmentation:
    return AugmentationConfig.SpatialAugmentation(**{"zoom_min": 1.0, "zoom_max": 1.0, **values})


def _draws(
    limits: AugmentationConfig.SpatialAugmentation,
    crop: tuple[int, int] = (0, 0),
    count: int = 200,
    size: tuple[int, int] = (64, 48),
) -> np.ndarray:
    draw = tf.function(
        lambda number: augmentation.random_spatial(limits, *size, crop, tf.stack([tf.constant(5, tf.int64), number]))
    )
    return np.stack([draw(tf.constant(number, tf.int64)) for number in range(count)])


def test_no_limits_no_change() -> None:
    assert (_draws(_limits(), count=5) == np.eye(3)).all()
    assert not augmentation.changes_space(AugmentationConfig.SpatialAugmentation())
    assert not augmentation.changes_color(AugmentationConfig.ColorAugmentation(contrast_center=0.5))


@pytest.mark.parametrize(
    "limits", [{"hflip_probability": 1}, {"vflip_probability": 1}, {"zoom_max": 2}, {"rotate_rad_max": 1}]
)
def test_limits_that_change_something(limits: dict[str, float]) -> None:
    assert augmentation.changes_space(_limits(**limits))


def test_the_crop_comes_first() -> None:
    assert (_draws(_limits(), crop=(5, 7), count=3) == [[1, 0, 0], [0, 1, 0], [5, 7, 1]]).all()
    mirrored = _draws(_limits(hflip_probability=1.0), crop=(5, 7), count=3)  # x = 0 shows column 64 of the window
    assert (mirrored == [[-1, 0, 0], [0, 1, 0], [69, 7, 1]]).all()


def test_flips_have_their_probability() -> None:
    matrices = _draws(_limits(hflip_probability=0.5, vflip_probability=0.25), count=600)
    assert abs((matrices[:, 0, 0] == -1).mean() - 0.5) < 0.1
    assert abs((matrices[:, 1, 1] == -1).mean() - 0.25) < 0.1


def test_translations_are_whole_pixels_up_to_both_limits() -> None:
    matrices = _draws(_limits(translate_max_x=3.9, translate_max_y=1))
    assert set(matrices[:, 2, 0]) == {-3, -2, -1, 0, 1, 2, 3}
    assert set(matrices[:, 2, 1]) == {-1, 0, 1}


@pytest.mark.parametrize("low, high", [(0.5, 0.8), (1.25, 2.0)])
def test_zoom_shows_a_window_or_places_the_whole_image(low: float, high: float) -> None:
    matrices = _draws(_limits(zoom_min=low, zoom_max=high))
    ratio = matrices[:, 0, 0]
    assert low <= ratio.min() < ratio.max() <= high
    corners = np.array([[0, 0, 1], [64, 48, 1]], np.float32) @ matrices
    if high < 1:  # the whole network input lies in the source image
        assert corners[:, 0, :2].min() > -1e-3 and (corners[:, 1, :2] < [64.001, 48.001]).all()
    else:
        assert corners[:, 0, :2].max() < 1e-3 and (corners[:, 1, :2] > [63.999, 47.999]).all()


def test_rotation_is_given_in_degrees_and_keeps_the_centre() -> None:
    matrices = _draws(_limits(rotate_rad_max=10, rotate_probability=0.5), count=600)
    angles = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert 8 < np.abs(angles).max() <= 10 and angles.min() < -8
    assert abs((angles != 0).mean() - 0.5) < 0.1
    np.testing.assert_allclose(np.array([32, 24, 1]) @ matrices, np.tile([32, 24, 1], (600, 1)), atol=1e-3)


def test_warp_by_whole_pixels() -> None:
    image = tf.constant(np.arange(12, dtype=np.float32).reshape(3, 4, 1) / 12)
    shifted = augmentation.warp(image, augmentation.translation(1.0, -1.0), 4, 3)[:, :, 0] * 12
    assert np.round(shifted, 4).tolist() == [[6, 6, 6, 6], [1, 2, 3, 6], [5, 6, 7, 6]]  # 6 of 12: the grey outside


def test_each_neighbour_outside_counts_as_background() -> None:
    image = tf.ones([1, 2, 1])
    shifted = augmentation.warp(image, augmentation.translation(0.25, 0.0), 2, 1)
    assert shifted[0, :, 0].numpy().tolist() == [1.0, 0.875]  # 3/4 of 1 and 1/4 of 0.5


def test_a_rotated_box_holds_its_four_corners() -> None:
    turned = augmentation.rotation(math.pi / 2, 64, 48)
    found = augmentation.transform_boxes(tf.constant([[32.0, 24, 42, 28]]), turned)[0]
    np.testing.assert_allclose(sorted(found.numpy()), sorted([32, 14, 36, 24]), atol=1e-4)


def test_no_boxes() -> None:
    assert augmentation.transform_boxes(tf.zeros([0, 4]), tf.eye(3)).shape == (0, 4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**40))
def test_boxes_and_pixels_move_alike(number: int) -> None:
    """A white square in the image is found again where its transformed box says."""
    limits = _limits(
        hflip_probability=0.5, vflip_probability=0.5, translate_max_x=6, translate_max_y=6, zoom_min=0.8, zoom_max=1.3
    )
    image = np.zeros((48, 64, 1), np.float32)
    image[16:32, 24:40] = 1
    matrix = augmentation.random_spatial(limits, 64, 48, (0, 0), tf.constant([1, number], tf.int64))
    rows, columns = np.nonzero(augmentation.warp(image, matrix, 64, 48, background=0.0)[:, :, 0].numpy() > 0.5)
    box = augmentation.transform_boxes(tf.constant([[24.0, 16, 40, 32]]), matrix)
    x1, y1, x2, y2 = clip_boxes(box.numpy(), 64, 48)[0][0]
    np.testing.assert_allclose(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [x1, y1, x2, y2], atol=0.6
    )
