"""Boxes on images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qatkit.report.drawing import Color, DrawnBox, draw_boxes, readable_on, save_picture

GREEN = (0, 200, 0)


def drawn(*boxes: DrawnBox, size: tuple[int, int] = (60, 40)) -> np.ndarray:
    """[h, w] whether a pixel is green."""
    picture = Image.new("RGB", size)
    draw_boxes(picture, boxes)
    return (np.asarray(picture) == GREEN).all(axis=2)


def test_nothing_to_draw() -> None:
    assert not drawn().any()


def test_a_box_is_its_outline() -> None:
    found = drawn(DrawnBox((10, 20, 30, 35), GREEN))
    expected = np.zeros((40, 60), bool)
    expected[20:36, 10:31] = True
    expected[21:35, 11:30] = False
    np.testing.assert_array_equal(found, expected)


def test_lines_grow_inwards() -> None:
    assert drawn(DrawnBox((10, 20, 30, 35), GREEN, line_width=3))[25].sum() == 6


@pytest.mark.parametrize(
    "box, rows, columns",
    [
        pytest.param((5, 25, 50, 38), slice(13, 25), slice(6, 60), id="above the box"),
        pytest.param((5, 3, 50, 38), slice(0, 12), slice(6, 60), id="at the upper border, inside"),
        pytest.param((55, 25, 59, 38), slice(13, 25), slice(30, 60), id="moved in from the right border"),
    ],
)
def test_where_the_label_is(box: tuple[float, float, float, float], rows: slice, columns: slice) -> None:
    label = drawn(DrawnBox(box, GREEN, "abc")) & ~drawn(DrawnBox(box, GREEN))
    assert label[rows, columns].sum() == label.sum() > 50


def test_a_label_may_be_longer_than_the_picture_and_have_any_letter() -> None:
    assert drawn(DrawnBox((5, 25, 50, 38), GREEN, "人" * 40 + "\n<b>")).any()


@pytest.mark.parametrize(
    "color, text", [((255, 255, 0), (0, 0, 0)), ((0, 0, 255), (255, 255, 255)), ((127, 127, 127), (255, 255, 255))]
)
def test_text_is_readable(color: Color, text: Color) -> None:
    assert readable_on(color) == text


@pytest.mark.parametrize(
    "name, written, kind",
    [
        ("a.JPG", "a.JPG", "JPEG"),
        ("a.mpo", "a.mpo", "JPEG"),
        ("a.tiff", "a.tiff", "TIFF"),
        ("a.heic", "a.heic.png", "PNG"),
        ("a", "a.png", "PNG"),
    ],
)
def test_pictures_are_written_by_their_ending(tmp_path: Path, name: str, written: str, kind: str) -> None:
    save_picture(Image.new("RGB", (6, 4), GREEN), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [written]
    with Image.open(tmp_path / written) as image:
        assert (image.format, image.size) == (kind, (6, 4))


def test_what_was_true_of_other_pixels_is_not_written(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 4), GREEN)
    picture.info.update(icc_profile=b"of CMYK", transparency=GREEN)
    save_picture(picture, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.info == {}
