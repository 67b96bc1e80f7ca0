"""Picture files, opened in one way by all that reads them: what a file is, its pixels in 8 bits, its EXIF rotation.

Pillow decodes. It names no files in its errors and warns of large pictures in words of its own; both end here.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from qatkit.choices import MAX_MEGAPIXELS
from qatkit.dataset.paths import check_regular, is_irregular, list_folder
from qatkit.errors import DataError

Size = tuple[int, int]

SUFFIXES = frozenset([".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".bmp", ".webp", ".tif", ".tiff"])
# What Pillow's decoders raise for damaged files.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_MEGA = 1_000_000
_ORIENTATION = 0x0112  # the EXIF tag
_TIFF_WIDTH, _TIFF_LENGTH = 256, 257
# EXIF orientation -> what turns the stored pixels upright. 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = frozenset({5, 6, 7, 8})  # orientations whose turn swaps width and height
_MOST_16_BIT = 0xFFFF

_most_pixels = MAX_MEGAPIXELS * _MEGA


def limit_pixels(megapixels: float) -> None:
    """Refuse pictures of more than this from now on, in the whole process; the default is MAX_MEGAPIXELS."""
    global _most_pixels
    _most_pixels = round(megapixels * _MEGA)
    # Pillow's own limit warns first and names neither file nor size; `_opened` checks instead.
    Image.MAX_IMAGE_PIXELS = None


limit_pixels(MAX_MEGAPIXELS)


class PictureFile(NamedTuple):
    """A file to be read. upright: turned as its EXIF orientation says, not taken as it is stored."""

    path: str
    upright: bool = False


@dataclass(frozen=True)
class PictureFacts:
    """size: width and height as read. orientation: EXIF's, 1..8; 1 = stored as it is shown."""

    size: Size
    orientation: int

    @property
    def is_turned(self) -> bool:
        """Whether viewers show the picture in another way than it is stored."""
        return self.orientation != 1


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of a folder, sorted, and what else is in it, counted by ending (see `ending`)."""

    pictures: list[Path]
    others: Counter[str]


def look_at(file: PictureFile, *, decode: bool) -> PictureFacts:
    """What the header of a file says; decode: and whether all of its pixels are there.

    Raises DataError for a file that is missing, damaged, too large or no picture.
    """
    with _opened(file.path) as image:
        orientation = _orientation(image)
        width, height = _size(image)
        _check_mode(image, file.path)
        if decode:
            image.draft("L", (1, 1))  # of a JPEG all bits are read, but few pixels made of them
            image.load()
            _check_depth(image, file.path)
    lying = file.upright and orientation in _LYING
    return PictureFacts((height, width) if lying else (width, height), orientation)


def read_picture(file: PictureFile, channels: int = 3, size: Size | None = None) -> Image.Image:
    """The pixels of a file in 8 bits: RGB, or grey for 1 channel. Of 16 bits the upper 8 are taken.

    size: width and height that the picture must have, where known.
    Raises DataError for a file that is missing, damaged, too large, no picture, or of another size.
    """
    with _opened(file.path) as image:
        if channels == 1:
            image.draft("L", None)  # a JPEG's own luminance, as TensorFlow's decoder gives for one channel
        orientation = _orientation(image)
        picture = _in_8_bits(image, file.path).convert("RGB" if channels == 3 else "L")
    if file.upright and orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    if size is not None and picture.size != size:
        raise DataError(
            f"{file.path}: the image is {picture.width} x {picture.height}, its record says {size[0]} x {size[1]}",
            hint="run dataset_convert again",
        )
    return picture


def list_pictures(folder: Path) -> PictureFolder:
    """The pictures in `folder` (not below it), by their endings. Raises DataError where it is no folder."""
    found = list_folder(folder)
    pictures = [path for path in found if is_picture(path) and not is_irregular(path)]
    rest = Counter(map(ending, found))
    rest.subtract(map(ending, pictures))
    return PictureFolder(pictures, +rest)


def find_pictures(paths: Sequence[str]) -> list[str]:
    """Each path as it is on the disk: where there is none, but one whose ending differs in its case, that one."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - strings, for there may be millions
    there = {folder: _by_lower_ending(folder) for folder in folders}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        named = there[folder].get(_lower_ending(name), [])
        found.append(path if len(named) != 1 or name in named else os.path.join(folder, named[0]))  # noqa: PTH118
    return found


def find_missing(paths: Sequence[str]) -> list[str]:
    """The paths that are not there. Folders are listed: to ask for a million files one by one takes long."""
    there = {folder: set(_names(folder)) for folder in {os.path.dirname(path) for path in paths}}  # noqa: PTH120
    return [path for path in paths if os.path.basename(path) not in there[os.path.dirname(path)]]  # noqa: PTH119, PTH120


def _by_lower_ending(folder: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in _names(folder):
        names.setdefault(_lower_ending(name), []).append(name)
    return names


def _names(folder: str) -> list[str]:
    """What lies in a folder; nothing in one that is not there."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def _lower_ending(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    return stem + suffix.lower()


def is_picture(path: Path) -> bool:
    """Whether `path` has a picture's ending, in letters of any case, and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def ending(path: Path) -> str:
    """What to count a file as that is passed over: "*.png" by its ending as written, or which kind it is."""
    if path.name.startswith("."):
        return "hidden files"
    if path.is_dir():
        return "folders"
    return f"*{path.suffix}" if path.suffix else "files without ending"


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """The picture in a file; Pillow's errors, also while it is used, become DataError naming the file."""
    check_regular(path)
    try:
        with Image.open(path) as image:
            _check_pixels(path, image.size)
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image file") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image that can be read") from error
    except _PILLOW_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:  # of the file system
            raise DataError(f"{path}: cannot read: {error.strerror}") from error
        ends = "the file ends early" if "truncated" in str(error).lower() else "its pixels cannot be decoded"
        raise DataError(f"{path}: damaged image: {ends}") from error


def _check_pixels(path: str, size: Size) -> None:
    pixels = size[0] * size[1]
    if pixels > _most_pixels:
        raise DataError(
            f"{path}: {size[0]} x {size[1]} are {pixels / _MEGA:.4g} megapixels, at most "
            f"{_most_pixels / _MEGA:.4g} are read",
            hint=f"--max_megapixels {-(-pixels // _MEGA)} lifts the limit",
        )


def _size(image: Image.Image) -> Size:
    """Width and height of what will be decoded; of a TIFF that lies, older versions of Pillow tell them as stored."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if tags.get(_ORIENTATION) in _LYING:
        return int(tags[_TIFF_LENGTH]), int(tags[_TIFF_WIDTH])
    return image.size


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 where there is none. TIFF has 1: Pillow itself turns what it reads."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # a PNG would be decoded to look for EXIF behind the pixels
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except _PILLOW_ERRORS:  # damaged EXIF data say nothing of the pixels
        return 1
    return found if found in _TURNS else 1


def _in_8_bits(image: Image.Image, path: str) -> Image.Image:
    """Pillow's convert() would clip 16 bits at 255 instead of scaling them."""
    _check_mode(image, path)
    if not image.mode.startswith("I"):
        return image
    _check_depth(image, path)
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _check_mode(image: Image.Image, path: str) -> None:
    if image.mode == "F":
        raise DataError(f"{path}: its pixels are floating-point numbers", hint="8 or 16 bits are read")


def _check_depth(image: Image.Image, path: str) -> None:
    """What the mode does not tell: Pillow opens 16 bits as 32 too."""
    if not image.mode.startswith("I"):
        return
    pixels = np.asarray(image)
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > _MOST_16_BIT:
        raise DataError(f"{path}: its pixels have more than 16 bits", hint="8 or 16 bits are read")
