"""Frames -> batches of network inputs with their boxes (tf.data).

One element of either stream is a dictionary:
    image      float32 [B, H, W, C], RGB or grey, 0..1
    boxes      float32 [B, n, 4], x1 y1 x2 y2 in pixels of the network input, inside the image
    class_ids  int32 [B, n]; -1 where a row is padding or the object is not visible (its box is zeros)
    weight     float32 [B], multiplies the loss of the frame
    index      int64 [B], the frame's row in the FrameTable
n is the largest number of objects in any frame of the table: every batch has the same shapes, so that a
tf.function is traced once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import tensorflow as tf

from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, Pixels, load_canvas, load_pixels
from qatkit.errors import DataError
from qatkit.keras import augmentation

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

Tensor: TypeAlias = tf.Tensor
Element: TypeAlias = dict[str, Tensor]
Sampling = Literal["proportional", "uniform"]

CACHE_BYTES = 1 << 30  # decoded images kept in memory; decoding costs more than everything else here
_PREFETCH = 2  # batches
_PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def training_batches(
    frames: FrameTable,
    config: AugmentationConfig,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    *,
    sampling: Sampling = "proportional",
    cache_bytes: int = CACHE_BYTES,
) -> tf.data.Dataset:
    """Endless stream of augmented batches; it starts with that of step `first_step`.

    Element s is a function of (seed, s) alone. Sample k of the stream is frame permutation(seed, k // N)[k % N], so
    batches cross the borders of epochs. "uniform" takes from the sources in turn instead, each in its own
    permutation, however many frames they have.
    Batches have always `batch_size` frames.
    """
    layout = ImageLayout.from_spec(config.preprocessing)
    order = _order(frames, seed, sampling)
    spatial = augmentation.changes_space(config.spatial_augmentation)
    load = _loader(frames, layout, whole=spatial, cache_bytes=cache_bytes)

    def sample(number: Tensor) -> Element:
        index = order(number)
        image, boxes, class_ids = load(index)
        image, boxes = _augmented(image, boxes, config, layout, tf.stack([tf.constant(seed, tf.int64), number]))
        small = (config.preprocessing.min_bbox_width, config.preprocessing.min_bbox_height)
        return _element(frames, layout, index, image, boxes, class_ids, small)

    numbers = tf.data.Dataset.range(first_step * batch_size, np.iinfo(np.int64).max)
    return _batched(numbers.map(sample, **_PARALLEL), frames, batch_size, drop_remainder=True)


def evaluation_batches(
    frames: FrameTable, config: AugmentationConfig, batch_size: int, *, cache_bytes: int = 0
) -> tf.data.Dataset:
    """One exact pass over the frames in their order, without augmentation; the last batch may be smaller.

    `cache_bytes`: keep decoded images for the next pass over the same dataset object.
    """
    layout = ImageLayout.from_spec(config.preprocessing)
    load = _loader(frames, layout, whole=False, cache_bytes=cache_bytes)

    def sample(index: Tensor) -> Element:
        image, boxes, class_ids = load(index)
        return _element(frames, layout, index, tf.cast(image, tf.float32) / 255.0, boxes, class_ids, (0.0, 0.0))

    samples = tf.data.Dataset.range(len(frames)).map(sample, **_PARALLEL)
    return _batched(samples, frames, batch_size, drop_remainder=False)


@contextmanager
def data_errors() -> Iterator[None]:
    """Around the consumption of a stream: what its images raised inside TensorFlow comes out as DataError."""
    try:
        yield
    except tf.errors.OpError as error:
        for line in error.message.splitlines():
            _, found, message = line.partition("DataError: ")
            if found:
                raise DataError(message) from None
        raise


class _Images:
    """Decodes images by index, and keeps as many as fit into `cache_bytes`."""

    def __init__(self, frames: FrameTable, layout: ImageLayout, *, whole: bool, cache_bytes: int) -> None:
        self._frames = frames
        self._layout = layout
        self._load = load_canvas if whole else load_pixels
        self._left = cache_bytes
        self._kept: dict[int, Pixels] = {}

    def __call__(self, index: np.int64) -> Pixels:
        key = int(index)
        pixels = self._kept.get(key)
        if pixels is None:
            width, height = self._frames.sizes[key].tolist()
            pixels = self._load(self._frames.image_paths[key], self._layout, (width, height))
            if self._left >= pixels.nbytes:
                self._left -= pixels.nbytes
                self._kept[key] = np.ascontiguousarray(pixels)
        return pixels


def _loader(
    frames: FrameTable, layout: ImageLayout, *, whole: bool, cache_bytes: int
) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """index -> image uint8 [h, w, C], boxes [n, 4] in its pixels, class ids [n].

    `whole`: the image before its window is cut out, and boxes relative to that.
    """
    images = _Images(frames, layout, whole=whole, cache_bytes=cache_bytes)
    factors = np.array([layout.resized(tuple(size)) for size in frames.sizes.tolist()], np.float32) / frames.sizes
    offset = np.zeros(2, np.float32) if whole else np.array(layout.crop, np.float32)
    scales = tf.constant(np.tile(factors, 2), tf.float32)
    shift = tf.constant(np.tile(offset, 2), tf.float32)
    boxes, class_ids, splits = (tf.constant(table) for table in (frames.boxes, frames.class_ids, frames.row_splits))

    def load(index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image = tf.numpy_function(images, [index], tf.uint8, stateful=False)
        image.set_shape([None, None, layout.channels] if whole else [layout.height, layout.width, layout.channels])
        rows = slice(splits[index], splits[index + 1])
        return image, boxes[rows] * scales[index] - shift, class_ids[rows]

    return load


def _augmented(
    image: Tensor, boxes: Tensor, config: AugmentationConfig, layout: ImageLayout, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """uint8 image and its boxes -> float32 image 0..1 of the layout's size and boxes, by the seed [2]."""
    image = tf.cast(image, tf.float32) / 255.0
    space, color = tf.unstack(tf.random.split(seed, 2, alg="philox"))
    if augmentation.changes_space(config.spatial_augmentation):
        size = layout.width, layout.height
        matrix = augmentation.random_spatial(config.spatial_augmentation, *size, layout.crop, space)
        image = augmentation.warp(image, matrix, *size)
        boxes = augmentation.transform_boxes(boxes, matrix)
    if layout.channels == 3 and augmentation.changes_color(config.color_augmentation):
        image = augmentation.recolor(image, augmentation.random_color(config.color_augmentation, color))
    return image, boxes


def _element(
    frames: FrameTable,
    layout: ImageLayout,
    index: Tensor,
    image: Tensor,
    boxes: Tensor,
    class_ids: Tensor,
    min_size: tuple[float, float],
) -> Element:
    boxes, kept = augmentation.clip_boxes(boxes, layout.width, layout.height, *min_size)
    return {
        "image": tf.ensure_shape(image, [layout.height, layout.width, layout.channels]),
        "boxes": tf.where(kept[:, tf.newaxis], boxes, 0.0),
        "class_ids": tf.where(kept, class_ids, -1),
        "weight": tf.constant(frames.weights)[index],
        "index": index,
    }


def _order(frames: FrameTable, seed: int, sampling: Sampling) -> Callable[[Tensor], Tensor]:
    """Number of a sample in the stream -> index of its frame."""
    if sampling == "uniform":
        groups = [np.flatnonzero(frames.sources == source) for source in np.unique(frames.sources)]
    else:
        groups = [np.arange(len(frames))]
    starts = tf.constant(np.cumsum([0, *(len(group) for group in groups)])[:-1], tf.int64)
    lengths = tf.constant([len(group) for group in groups], tf.int64)
    rows = tf.constant(np.concatenate(groups), tf.int64)

    def order(number: Tensor) -> Tensor:
        group = number % len(groups)
        turn, length = number // len(groups), lengths[group]
        key = tf.stack([tf.constant(seed, tf.int64), turn // length * len(groups) + group])
        place = tf.random.experimental.index_shuffle(turn % length, key, length - 1)
        return rows[starts[group] + place]

    return order


def _batched(samples: tf.data.Dataset, frames: FrameTable, size: int, *, drop_remainder: bool) -> tf.data.Dataset:
    shapes = {name: spec.shape for name, spec in samples.element_spec.items()}
    shapes |= {"boxes": [frames.max_objects, 4], "class_ids": [frames.max_objects]}
    padding = {"image": 0.0, "boxes": 0.0, "class_ids": -1, "weight": 0.0, "index": np.int64(0)}
    return samples.padded_batch(size, shapes, padding, drop_remainder).prefetch(_PREFETCH)
