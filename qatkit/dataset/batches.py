"""Labelled frames -> network inputs with their boxes: for evaluation in batches, for training in its parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from qatkit import console
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, Pixels, load_canvas, load_pixels, map_ahead, to_float
from qatkit.dataset.pixel_cache import NOT_KEPT, Cache
from qatkit.errors import DataError

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

# An object of which less of its area is left in the image is no longer one to be learned or found.
MIN_VISIBLE = 0.2
MIN_SIDE = 1.0  # pixels
_BATCHES_AHEAD = 2  # decoded before they are asked for


class Batch(TypedDict):
    """B frames. n is the largest number of objects in any frame of the table: all batches have the same shapes.

    image: float32 [B, H, W, C], RGB or grey, 0..1. boxes: float32 [B, n, 4], x1 y1 x2 y2 in pixels of the network
    input, inside the image. class_ids: int32 [B, n]; -1 where a row is padding or the object is not visible (its box
    is zeros). weight: float32 [B], multiplies the loss of the frame. index: int64 [B], the frame's row in the table.
    """

    image: NDArray[np.float32]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    weight: NDArray[np.float32]
    index: NDArray[np.int64]


class LeftOut:
    """Images that cannot be read and are left out: each is named once, and they may be a share of all at most.

    images: how many there are. share: 0..1; one may always be left out if there is another, unless it is 0.
    """

    def __init__(self, images: int, share: float) -> None:
        self.paths: list[str] = []
        self._images = images
        self._most = min(max(int(share * images), 1), images - 1) if share else 0
        self._lock = threading.Lock()  # threads read images

    def add(self, path: str, error: DataError) -> None:
        """Leave out an image. Raises `error` where none may be left out, DataError where there are too many."""
        with self._lock:
            if path in self.paths:
                return
            if not self._most:
                raise error
            self.paths.append(path)
            count = f"{len(self.paths)} of {self._images} images cannot be read"
            if len(self.paths) > self._most:
                hint = "qatkit check names them all"
                raise DataError(f"{error}; {count}, more than the {self._most} that may be left out", hint=hint)
            console.warn(f"{error}; left out ({count})")


class EvaluationBatches:
    """Iterating is one exact pass over the frames in their order, without augmentation; the last may be smaller.

    Threads decode the next batches while one is used. cache: where decoded images are for the next pass. left_out:
    where images that cannot be read go, whose frames are in no batch then; None = iterating raises DataError for an
    image that is missing, damaged or of another size than its record says.
    """

    def __init__(
        self,
        frames: FrameTable,
        preprocessing: AugmentationConfig.Preprocessing,
        batch_size: int,
        *,
        cache: Cache = NOT_KEPT,
        left_out: LeftOut | None = None,
    ) -> None:
        self._left_out = left_out
        self._layout = ImageLayout.from_spec(preprocessing)
        boxes, class_ids = visible(
            network_boxes(frames.boxes, frames.object_sizes, self._layout), frames.class_ids, self._layout
        )
        self._frames = replace(frames, boxes=boxes, class_ids=class_ids)
        self._images = FrameImages(frames, self._layout, cache=cache)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._frames) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        loaded = self._loaded()
        while found := list(islice(loaded, self._batch_size)):
            yield self._batch(*zip(*found))

    def _loaded(self) -> Iterator[tuple[int, Pixels]]:
        """The frames that can be read, with their images."""
        images = map_ahead(self._image, range(len(self._frames)), _BATCHES_AHEAD * self._batch_size)
        return ((row, pixels) for row, pixels in enumerate(images) if pixels is not None)

    def _image(self, row: int) -> Pixels | None:
        try:
            return self._images(row)
        except DataError as error:
            if self._left_out is None:
                raise
            self._left_out.add(self._frames.image_paths[row], error)
            return None

    def _batch(self, rows: Sequence[int], images: Sequence[Pixels]) -> Batch:
        frames, layout, count = self._frames, self._layout, len(rows)
        image = np.empty((count, layout.height, layout.width, layout.channels), np.float32)
        boxes = np.zeros((count, frames.max_objects, 4), np.float32)
        class_ids = np.full((count, frames.max_objects), -1, np.int32)
        for place, (row, pixels) in enumerate(zip(rows, images)):
            to_float(pixels, image[place])
            labels = frames.objects(row)
            boxes[place, : len(labels[0])], class_ids[place, : len(labels[1])] = labels
        index = np.array(rows, np.int64)
        return Batch(image=image, boxes=boxes, class_ids=class_ids, weight=frames.weights[index], index=index)


class FrameImages:
    """Decodes the image of a frame, uint8 [h, w, C], or finds it in `cache`.

    whole: the image before its window is cut out.
    """

    def __init__(
        self, frames: FrameTable, layout: ImageLayout, *, whole: bool = False, cache: Cache = NOT_KEPT
    ) -> None:
        self._frames = frames
        self._layout = layout
        self._load = load_canvas if whole else load_pixels
        self._kept = cache.open(frames, layout, whole=whole)

    def __call__(self, frame: int) -> Pixels:
        """Raises DataError for an image that is missing, damaged or of another size than its record says."""
        pixels = self._kept.get(frame)
        if pixels is None:
            width, height = self._frames.sizes[frame].tolist()
            pixels = self._load(self._frames.image(frame), self._layout, (width, height))
            self._kept.put(frame, pixels)
        return pixels

    def or_next(self, frame: int, left_out: LeftOut) -> tuple[int, Pixels]:
        """The image of a frame; where it cannot be read, that of the first frame behind it that can. And which it is.

        So that what is trained on depends on the files alone, not on which of them were asked for before. Raises as
        `LeftOut.add`.
        """
        while True:
            try:
                return frame, self(frame)
            except DataError as error:
                left_out.add(self._frames.image_paths[frame], error)
                frame = (frame + 1) % len(self._frames)


def network_boxes(
    boxes: NDArray[np.float32], sizes: NDArray[np.int32], layout: ImageLayout, *, whole: bool = False
) -> NDArray[np.float32]:
    """Boxes [M, 4] in images of `sizes` [M, 2] -> in the network input, reaching beyond it; whole: in the canvas."""
    different, rows = np.unique(sizes, axis=0, return_inverse=True)
    resized = [layout.resized((width, height)) for width, height in different.tolist()]
    factors = np.tile(np.array(resized, np.float32).reshape(-1, 2) / different, 2).astype(np.float32)
    shift = np.array((0, 0, 0, 0) if whole else layout.crop * 2, np.float32)
    moved: NDArray[np.float32] = boxes * factors[rows.reshape(-1)] - shift
    return moved


def visible(
    boxes: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    layout: ImageLayout,
    min_size: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Boxes [..., 4] clipped to the network input, and class ids [...]; zeros and -1 where none is kept."""
    clipped, kept = clip_boxes(boxes, layout.width, layout.height, *min_size)
    return np.where(kept[..., None], clipped, np.float32(0)), np.where(kept, class_ids, np.int32(-1))


def clip_boxes(
    boxes: NDArray[np.float32], width: int, height: int, min_width: float = 0.0, min_height: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clip boxes [..., 4] to the image; return them and which are kept, bool [...].

    Kept are those with at least MIN_VISIBLE of their area in the image, whose clipped sides are no shorter than
    min_width, min_height and one pixel.
    """
    clipped = np.clip(boxes, np.float32(0), np.array([width, height, width, height], np.float32))
    whole, sides = boxes[..., 2:] - boxes[..., :2], clipped[..., 2:] - clipped[..., :2]
    large = (sides >= np.maximum([min_width, min_height], MIN_SIDE).astype(np.float32)).all(axis=-1)
    kept: NDArray[np.bool_] = large & (sides.prod(axis=-1) >= np.float32(MIN_VISIBLE) * whole.prod(axis=-1))
    return clipped, kept
