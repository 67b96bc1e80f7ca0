import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from qatkit.dataset.images import ImageLayout, load_canvas, load_image, load_pixels
from qatkit.dataset.picture_file import PictureFile
from qatkit.errors import DataError, SpecError
from tests.support.frames import augmentation_config, noise, write_image


def picture(path: Path) -> PictureFile:
    return PictureFile(str(path))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_decodes_as_tensorflow_does(tmp_path: Path, name: str, channels: int) -> None:
    path = write_image(tmp_path / name, noise(40, 24))
    data = path.read_bytes()
    if name.endswith("jpg"):
        expected = tf.io.decode_jpeg(data, channels, dct_method="INTEGER_ACCURATE").numpy()
    else:
        expected = tf.io.decode_png(data, channels).numpy()
    found = load_pixels(picture(path), ImageLayout(40, 24, channels))
    assert found.shape == (24, 40, channels)
    np.testing.assert_allclose(found, expected, atol=1)  # the weights of grey are rounded differently


@pytest.mark.parametrize("size", [(20, 12), (64, 48), (30, 70), (101, 67)])
def test_resizes_as_tensorflow_with_antialias(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = noise(101, 67)
    path = write_image(tmp_path / "a.png", pixels)
    expected = tf.image.resize(pixels, size[::-1], "bilinear", antialias=True).numpy() / 255.0
    np.testing.assert_allclose(load_image(path, *size, 3, auto_resize=True), expected, atol=1 / 255)


@pytest.mark.parametrize("size", [(32, 24), (48, 24), (32, 30), (16, 40), (20, 10)])
def test_without_resizing_pads_with_black_and_crops(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = noise(32, 24)
    path = write_image(tmp_path / "a.png", pixels)
    width, height = size
    expected = np.zeros((height, width, 3), np.float32)
    expected[: min(height, 24), : min(width, 32)] = pixels[:height, :width] / np.float32(255)
    np.testing.assert_array_equal(load_image(path, width, height, 3, auto_resize=False), expected)


def test_the_window_is_cut_at_crop(tmp_path: Path) -> None:
    pixels = noise(32, 24)
    path = write_image(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(load_pixels(picture(path), ImageLayout(16, 8, crop=(5, 7))), pixels[7:15, 5:21])
    assert load_canvas(picture(path), ImageLayout(16, 8, crop=(20, 20))).shape == (
        28,
        36,
        3,
    )  # padded to 20 + 8, 20 + 16


def test_scale_comes_before_the_crop(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", np.full((24, 32, 3), 7, np.uint8))
    layout = ImageLayout(40, 40, scale=(0.5, 1.5))
    assert layout.resized((32, 24)) == (16, 36)
    found = load_pixels(picture(path), layout)
    assert (found[:36, :16] == 7).all() and not found[36:].any() and not found[:, 16:].any()


@pytest.mark.parametrize(
    "pixels, channels, expected",
    [
        (np.full((4, 4), 0x80FF, np.uint16), 3, [128, 128, 128]),  # 16 bits: the upper 8 of them
        (np.full((4, 4), 0x80FF, np.uint16), 1, [128]),
        (np.full((4, 4, 4), (10, 20, 30, 0), np.uint8), 3, [10, 20, 30]),  # transparency is left out
        (np.full((4, 4), 9, np.uint8), 3, [9, 9, 9]),
    ],
)
def test_modes(tmp_path: Path, pixels: np.ndarray, channels: int, expected: list[int]) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert load_pixels(picture(tmp_path / "a.png"), ImageLayout(4, 4, channels))[0, 0].tolist() == expected


def _truncated(path: Path) -> None:
    data = write_image(path, noise(64, 64)).read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "no such image file"),
        (lambda path: path.write_bytes(b""), "not an image"),
        (lambda path: path.write_text("<html>not found</html>"), "not an image"),
        (_truncated, "damaged image"),
        (lambda path: path.mkdir(), "this is a folder, not a file"),
        (os.mkfifo, "this is no file"),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_what_is_no_image_is_named(tmp_path: Path, make, message: str, name: str) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        load_image(tmp_path / name, 64, 64, 3, auto_resize=False)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_damaged_bytes_give_an_image_or_an_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(write_image(tmp_path / name, noise(16, 16)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert load_image(tmp_path / name, 16, 16, 3, auto_resize=True).shape == (16, 16, 3)
    except DataError as error:
        assert name in str(error)


def test_another_size_than_the_record_says(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", noise(40, 24))
    with pytest.raises(DataError, match="the image is 40 x 24, its record says 24 x 40"):
        load_pixels(picture(path), ImageLayout(16, 16), (24, 40))


def test_layout_from_a_spec() -> None:
    config = augmentation_config(32, 16, 1, enable_auto_resize=True, scale_width=0.5)
    assert ImageLayout.from_spec(config.preprocessing) == ImageLayout(32, 16, 1, True, (0.5, 1.0))
    config = augmentation_config(32, 16, crop_left=4, crop_top=2, crop_right=36, crop_bottom=18)
    assert ImageLayout.from_spec(config.preprocessing) == ImageLayout(32, 16, crop=(4, 2))


@pytest.mark.parametrize(
    "width, channels, preprocessing, message",
    [
        (0, 3, {}, "must be positive, got 0 x 16"),
        (32, 2, {}, "output_image_channel must be 1 or 3, got 2"),
        (32, 3, {"scale_width": -1.0}, "must be positive"),
        (32, 3, {"crop_right": 31, "crop_bottom": 16}, "crop window is 31 x 16, the output image 32 x 16"),
    ],
)
def test_a_layout_that_makes_no_sense(width: int, channels: int, preprocessing: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ImageLayout.from_spec(augmentation_config(width, 16, channels, **preprocessing).preprocessing)
