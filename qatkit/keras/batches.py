"""Frames -> batches of augmented network inputs with their boxes (tf.data), for training.

An element has the keys, shapes and dtypes of `dataset.batches.Batch`, as tensors; every batch has the same shapes, so
that a tf.function is traced once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import tensorflow as tf

from qatkit.dataset.batches import CACHE_BYTES, FrameImages, LeftOut, network_boxes, visible
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, Pixels
from qatkit.errors import DataError
from qatkit.keras import augmentation

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

Tensor: TypeAlias = tf.Tensor
Element: TypeAlias = dict[str, Tensor]
Stream: TypeAlias = tf.data.Dataset
Sampling = Literal["proportional", "uniform"]

_PREFETCH = 2  # batches


def training_batches(
    frames: FrameTable,
    config: AugmentationConfig,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    *,
    sampling: Sampling = "proportional",
    cache_bytes: int = CACHE_BYTES,
    left_out: LeftOut | None = None,
) -> Stream:
    """Endless stream of augmented batches; it starts with that of step `first_step`.

    Element s is a function of (seed, s) alone. Sample k of the stream is frame permutation(seed, k // N)[k % N], so
    batches cross the borders of epochs. "uniform" takes from the sources in turn instead, each in its own
    permutation, however many frames they have. Where the image of a frame cannot be read, the next one takes its
    place. left_out: where such images go; None = there may be none. Batches have always `batch_size` frames.
    """
    layout = ImageLayout.from_spec(config.preprocessing)
    order = _order(frames, seed, sampling)
    spatial = augmentation.changes_space(config.spatial_augmentation)
    load = _loader(frames, layout, left_out or LeftOut(len(frames), 0), whole=spatial, cache_bytes=cache_bytes)
    weights = tf.constant(frames.weights)
    small = (config.preprocessing.min_bbox_width, config.preprocessing.min_bbox_height)

    def sample(number: Tensor) -> Element:
        index, image, boxes, class_ids = load(order(number))
        image, boxes = _augmented(image, boxes, config, layout, tf.stack([tf.constant(seed, tf.int64), number]))
        image = tf.ensure_shape(image, [layout.height, layout.width, layout.channels])
        return {"image": image, "boxes": boxes, "class_ids": class_ids, "weight": weights[index], "index": index}

    def clipped(batch: Element) -> Element:
        labels = batch["boxes"], batch["class_ids"]
        found = tf.numpy_function(
            lambda boxes, ids: visible(boxes, ids, layout, small), labels, (tf.float32, tf.int32), stateful=False
        )
        boxes, class_ids = (tf.ensure_shape(new, old.shape) for new, old in zip(found, labels))
        return {**batch, "boxes": boxes, "class_ids": class_ids}

    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    samples = tf.data.Dataset.range(first_step * batch_size, np.iinfo(np.int64).max).map(sample, **parallel)
    shapes = {name: spec.shape for name, spec in samples.element_spec.items()}
    shapes |= {"boxes": [frames.max_objects, 4], "class_ids": [frames.max_objects]}
    padding = {"image": 0.0, "boxes": 0.0, "class_ids": -1, "weight": 0.0, "index": np.int64(0)}
    batches = samples.padded_batch(batch_size, shapes, padding, drop_remainder=True)
    return batches.map(clipped, **parallel).prefetch(_PREFETCH)


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


def _loader(
    frames: FrameTable, layout: ImageLayout, left_out: LeftOut, *, whole: bool, cache_bytes: int
) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """index -> index, image uint8 [h, w, C], boxes [n, 4] in its pixels, class ids [n].

    The index is that of another frame where the image cannot be read, see `FrameImages.or_next`.
    `whole`: the image before its window is cut out, and boxes relative to that.
    """
    images = FrameImages(frames, layout, whole=whole, cache_bytes=cache_bytes)
    boxes = tf.constant(network_boxes(frames.boxes, frames.object_sizes, layout, whole=whole))
    class_ids, splits = tf.constant(frames.class_ids), tf.constant(frames.row_splits)

    def read(row: np.int64) -> tuple[np.int64, Pixels]:
        found, pixels = images.or_next(int(row), left_out)
        return np.int64(found), pixels

    def load(index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        index, image = tf.numpy_function(read, [index], (tf.int64, tf.uint8), stateful=False)
        index.set_shape([])
        image.set_shape([None, None, layout.channels] if whole else [layout.height, layout.width, layout.channels])
        rows = slice(splits[index], splits[index + 1])
        return index, image, boxes[rows], class_ids[rows]

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
