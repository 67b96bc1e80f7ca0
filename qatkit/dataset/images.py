"""Pictures brought to the network's size: the one way that training, evaluation, calibration and inference share.

Shrinking is antialiased (bilinear with a support that grows with the factor), unlike TAO's training.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qatkit.console import listed
from qatkit.dataset.picture_file import SUFFIXES, PictureFile, Size, list_pictures, read_picture
from qatkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

Pixels = NDArray[np.uint8]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ImageLayout:
    """How an image file becomes a network input of `width` x `height` pixels and `channels` (1 or 3, RGB).

    auto_resize: the whole image is resized to width x height, its aspect ratio is not kept.
    Otherwise it is scaled by `scale` (x, y), padded with black at the right and the bottom, and the window with
    its top left corner at `crop` (x, y) is cut out.
    """

    width: int
    height: int
    channels: int = 3
    auto_resize: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    crop: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise SpecError(f"output image size must be positive, got {self.width} x {self.height}")
        if self.channels not in (1, 3):
            raise SpecError(f"output_image_channel must be 1 or 3, got {self.channels}")
        if min(self.scale) <= 0:
            raise SpecError(f"scale_width and scale_height must be positive, got {self.scale}")

    @classmethod
    def from_spec(cls, preprocessing: AugmentationConfig.Preprocessing) -> ImageLayout:
        """The layout of `augmentation_config.preprocessing`. Raises SpecError where it contradicts itself."""
        given = preprocessing
        width, height = given.output_image_width, given.output_image_height
        if given.crop_left or given.crop_top or given.crop_right or given.crop_bottom:
            window = (given.crop_right - given.crop_left, given.crop_bottom - given.crop_top)
            if window != (width, height):
                raise SpecError(
                    f"preprocessing: the crop window is {window[0]} x {window[1]}, the output image "
                    f"{width} x {height}; they must be the same"
                )
        return cls(
            width=width,
            height=height,
            channels=given.output_image_channel,
            auto_resize=given.enable_auto_resize,
            scale=(given.scale_width or 1.0, given.scale_height or 1.0),
            crop=(given.crop_left, given.crop_top),
        )

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the resized image for a file of `size` (width, height), before padding and cropping."""
        width, height = (self.width, self.height) if self.auto_resize else size
        return max(round(width * self.scale[0]), 1), max(round(height * self.scale[1]), 1)

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the canvas: the resized image, and at least the window that is cut out."""
        width, height = self.resized(size)
        return max(width, self.crop[0] + self.width), max(height, self.crop[1] + self.height)


def image_files(place: Path) -> list[Path]:
    """The image `place`, or the images in the folder `place` (not below it), sorted.

    Raises DataError when there is none.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DataError(f"{place}: no such image or folder")
    found = list_pictures(place)
    if not found.pictures:
        others = f"it has {listed(found.others)}; " if found.others else ""
        raise DataError(f"{place}: holds no images", hint=f"{others}looked for {', '.join(sorted(SUFFIXES))}")
    return found.pictures


def load_image(path: Path | str, width: int, height: int, channels: int, auto_resize: bool) -> NDArray[np.float32]:
    """The image file, as it is stored, as network input: float32 [height, width, channels], RGB or grey, 0..1.

    Raises DataError as `read_picture`.
    """
    return to_float(load_pixels(PictureFile(str(path)), ImageLayout(width, height, channels, auto_resize)))


def load_pixels(file: PictureFile, layout: ImageLayout, size: Size | None = None) -> Pixels:
    """The image file as network input in bytes: uint8 [layout.height, layout.width, layout.channels].

    `size` and errors: as in `read_picture`.
    """
    return windowed(load_canvas(file, layout, size), layout)


def load_canvas(file: PictureFile, layout: ImageLayout, size: Size | None = None) -> Pixels:
    """The resized image on its canvas, before the window is cut out: uint8 [h, w, layout.channels].

    `size` and errors: as in `read_picture`.
    """
    return to_canvas(read_picture(file, layout.channels, size), layout)


def to_canvas(picture: Image.Image, layout: ImageLayout) -> Pixels:
    """A picture (RGB, or grey for 1 channel) resized, on its canvas: uint8 [h, w, layout.channels]."""
    original = picture.size
    if original != layout.resized(original):
        picture = picture.resize(layout.resized(original), Image.Resampling.BILINEAR)
    return _pad(np.asarray(picture), layout.padded(original))


def windowed(canvas: Pixels, layout: ImageLayout) -> Pixels:
    """The window of a canvas that the network sees: uint8 [layout.height, layout.width, layout.channels]."""
    left, top = layout.crop
    return canvas[top : top + layout.height, left : left + layout.width]


def to_float(pixels: Pixels, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Bytes 0..255 -> float32 0..1; into `out` where it is given."""
    return np.divide(pixels, np.float32(255.0), out=out, dtype=np.float32)


def map_ahead(load: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map(load, items)` by threads, in order: up to `ahead` results wait for being asked for.

    For what spends its time outside of Python, such as decoding. An error of `load` comes when its turn is.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(load, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _pad(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """[h, w] or [h, w, C] -> [size[1], size[0], C] with zeros at the right and the bottom."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    missing = (size[1] - pixels.shape[0], size[0] - pixels.shape[1])
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else pixels
