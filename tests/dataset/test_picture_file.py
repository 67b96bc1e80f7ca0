import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qatkit.choices import MAX_MEGAPIXELS
from qatkit.dataset.images import ImageLayout, load_pixels
from qatkit.dataset.picture_file import (
    PictureFile,
    find_pictures,
    limit_pixels,
    list_pictures,
    look_at,
    read_picture,
)
from qatkit.errors import DataError
from tests.support.frames import noise, write_image

# The colours of the corners as they are shown: top left, top right, bottom left, bottom right.
CORNERS = np.array([[(250, 0, 0), (0, 250, 0)], [(0, 0, 250), (250, 250, 0)]], np.uint8)
# How an upright picture is stored, by EXIF orientation (CIPA DC-008-2012, 4.6.4 A).
STORED = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: shown.transpose(1, 0, 2)[::-1],
    7: lambda shown: shown.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda shown: shown.transpose(1, 0, 2)[:, ::-1],
}


def shown() -> np.ndarray:
    """32 wide, 24 high, a colour per corner."""
    return CORNERS.repeat(12, axis=0).repeat(16, axis=1)


def write_turned(path: Path, orientation: int) -> PictureFile:
    """A picture that is shown as `shown()`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown())))
    picture.save(path, exif=exif, quality=100, subsampling=0, lossless=True)
    return PictureFile(str(path))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_exif_is_ignored_or_applied(tmp_path: Path, orientation: int, name: str) -> None:
    file = write_turned(tmp_path / name, orientation)
    upright = PictureFile(file.path, upright=True)
    stored = STORED[orientation](shown())
    for one, expected in ((file, stored), (upright, shown())):
        size = expected.shape[1], expected.shape[0]
        facts = look_at(one, decode=True)
        assert (facts.size, facts.orientation, facts.is_turned) == (size, orientation, orientation != 1)
        assert look_at(one, decode=False) == facts
        assert np.abs(np.asarray(read_picture(one, size=size)).astype(int) - expected).max() <= 40
        assert read_picture(one, channels=1).size == size
        pixels = load_pixels(one, ImageLayout(8, 8, auto_resize=True))
        corners = pixels[[1, 1, 6, 6], [1, 6, 1, 6]].astype(int)
        assert np.abs(corners - expected[[0, 0, -1, -1], [0, -1, 0, -1]]).max() <= 40


def test_a_tiff_is_always_upright(tmp_path: Path) -> None:
    """Pillow turns it itself: to turn it again would be wrong."""
    file = write_turned(tmp_path / "a.tif", 6)
    for upright in (False, True):
        one = PictureFile(file.path, upright)
        assert look_at(one, decode=False).size == (32, 24)
        np.testing.assert_array_equal(np.asarray(read_picture(one)), shown())


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_data_say_nothing_of_the_pixels(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(noise(16, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert look_at(PictureFile(str(tmp_path / "a.jpg"), upright=True), decode=True).orientation == 1


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_orientations_that_do_not_exist(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(16, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert look_at(PictureFile(str(tmp_path / "a.jpg"), upright=True), decode=False).size == (16, 8)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.tif"])
def test_half_a_file_is_noticed_only_where_it_is_decoded(tmp_path: Path, name: str) -> None:
    path = write_image(tmp_path / name, noise(64, 64))
    file = PictureFile(str(path))
    assert look_at(file, decode=True).size == (64, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=name):
        look_at(file, decode=True)
    with pytest.raises(DataError, match=name):
        read_picture(file)


def test_a_ramp_of_16_bits(tmp_path: Path) -> None:
    Image.fromarray(np.arange(0, 65536, dtype=np.uint16).reshape(256, 256)).save(tmp_path / "a.png")
    found = np.asarray(read_picture(PictureFile(str(tmp_path / "a.png")), channels=1))
    np.testing.assert_array_equal(found, np.arange(256).repeat(256).reshape(256, 256))


@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.full((4, 4), 0.5, np.float32), "floating-point numbers"),
        (np.full((4, 4), 70000, np.int32), "more than 16 bits"),
        (np.full((4, 4), -1, np.int32), "more than 16 bits"),
    ],
)
def test_pixels_that_do_not_fit_into_16_bits(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=f"a.tif: its pixels .*{message}"):
        read_picture(PictureFile(str(tmp_path / "a.tif")))


def test_large_pictures(tmp_path: Path) -> None:
    """Those that Pillow warns of are read in silence; others are refused with their size and the flag."""
    file = PictureFile(str(tmp_path / "a.png"))
    Image.new("1", (12_000, 8_000)).save(file.path)
    assert look_at(file, decode=True).size == (12_000, 8_000)
    Image.new("1", (16_000, 12_000)).save(file.path)
    message = f"16000 x 12000 are 192 megapixels, at most {MAX_MEGAPIXELS} are read .--max_megapixels 192 lifts"
    for read in (lambda: look_at(file, decode=False), lambda: read_picture(file)):
        with pytest.raises(DataError, match=f"a.png: {message}"):
            read()
    try:
        limit_pixels(192)
        assert look_at(file, decode=False).size == (16_000, 12_000)
    finally:
        limit_pixels(MAX_MEGAPIXELS)


def test_folders_are_listed_by_ending(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.jpeg", "c.txt", "d.txt", ".hidden.png", "README"):
        (tmp_path / name).touch()
    (tmp_path / "e.png").mkdir()
    os.mkfifo(tmp_path / "f.png")
    found = list_pictures(tmp_path)
    assert [path.name for path in found.pictures] == ["a.jpeg", "b.JPG"]
    assert found.others == {"*.txt": 2, "hidden files": 1, "files without ending": 1, "folders": 1, "*.png": 1}


@pytest.mark.parametrize("place, message", [("none", "none: no such folder"), ("file", "not a folder")])
def test_what_is_no_folder(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=message):
        list_pictures(tmp_path / place)


def test_endings_are_found_in_any_case(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.jpg", "b.JPG", "c.Jpg", "c.JPG", "A.jpg"):
        (tmp_path / name).touch()
    wanted = [f"{tmp_path}/{name}" for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "none/a.jpg")]
    found = [Path(path).relative_to(tmp_path).as_posix() for path in find_pictures(wanted)]
    assert found == ["a.JPG", "b.jpg", "c.jpg", "d.jpg", "none/a.jpg"]  # c: which of the two, nobody knows
