"""Labelled frames -> network inputs with their boxes: for evaluation in batches, for training in its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, Pixels, load_canvas, load_pixels, map_ahead, to_float

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

CACHE_BYTES = 1 << 30  # decoded images kept in memory; decoding costs more than everything else here
# An object of which less of its area is left in the image is no longer one to be learned or found.
MIN_VISIBLE = 0.2
_MIN_SIDE = 1.0  # pixels
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


class EvaluationBatches:
    """Iterating is one exact pass over the frames in their order, without augmentation; the last may be smaller.

    Threads decode the next batches while one is used. cache_bytes: decoded images kept for the next pass.
    Raises, while iterating, DataError for an image that is missing, damaged or of another size than its record says.
    """

    def __init__(
        self,
        frames: FrameTable,
        preprocessing: AugmentationConfig.Preprocessing,
        batch_size: int,
        *,
        cache_bytes: int = 0,
    ) -> None:
        self._layout = ImageLayout.from_spec(preprocessing)
        boxes, class_ids = visible(
            network_boxes(frames.boxes, frames.object_sizes, self._layout), frames.class_ids, self._layout
        )
        self._frames = replace(frames, boxes=boxes, class_ids=class_ids)
        self._images = FrameImages(frames, self._layout, cache_bytes=cache_bytes)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._frames) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        rows = np.arange(len(self._frames), dtype=np.int64)
        images = map_ahead(self._images, rows.tolist(), _BATCHES_AHEAD * self._batch_size)
        for start in range(0, len(rows), self._batch_size):
            yield self._batch(rows[start : start + self._batch_size], images)

    def _batch(self, rows: NDArray[np.int64], images: Iterable[Pixels]) -> Batch:
        frames, layout, count = self._frames, self._layout, len(rows)
        image = np.empty((count, layout.height, layout.width, layout.channels), np.float32)
        boxes = np.zeros((count, frames.max_objects, 4), np.float32)
        class_ids = np.full((count, frames.max_objects), -1, np.int32)
        for place, (row, pixels) in enumerate(zip(rows.tolist(), islice(images, count))):
            to_float(pixels, image[place])
            labels = frames.objects(row)
            boxes[place, : len(labels[0])], class_ids[place, : len(labels[1])] = labels
        return Batch(image=image, boxes=boxes, class_ids=class_ids, weight=frames.weights[rows], index=rows)


class FrameImages:
    """Decodes the image of a frame, uint8 [h, w, C], and keeps as many as fit into `cache_bytes`.

    whole: the image before its window is cut out.
    """

    def __init__(self, frames: FrameTable, layout: ImageLayout, *, whole: bool = False, cache_bytes: int = 0) -> None:
        self._frames = frames
        self._layout = layout
        self._load = load_canvas if whole else load_pixels
        self._left = cache_bytes
        self._kept: dict[int, Pixels] = {}

    def __call__(self, frame: int) -> Pixels:
        """Raises DataError for an image that is missing, damaged or of another size than its record says."""
        pixels = self._kept.get(frame)
        if pixels is None:
            width, height = self._frames.sizes[frame].tolist()
            pixels = self._load(self._frames.image(frame), self._layout, (width, height))
            if self._left >= pixels.nbytes:
                self._left -= pixels.nbytes
                self._kept[frame] = np.ascontiguousarray(pixels)
        return pixels


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
    large = (sides >= np.maximum([min_width, min_height], _MIN_SIDE).astype(np.float32)).all(axis=-1)
    kept: NDArray[np.bool_] = large & (sides.prod(axis=-1) >= np.float32(MIN_VISIBLE) * whole.prod(axis=-1))
    return clipped, kept
