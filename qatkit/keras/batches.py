"""Frames -> batches for training (tf.data): images decoded, and what happens to each drawn from the seed.

Every batch has the same shapes, so that a tf.function is traced once. Pixels and boxes are moved by `Preparation`, in
the training step, where there is a GPU on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import tensorflow as tf

from qatkit.dataset.batches import FrameImages, LeftOut, network_boxes
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, Pixels
from qatkit.dataset.pixel_cache import NOT_KEPT, Cache
from qatkit.errors import DataError
from qatkit.keras import augmentation
from qatkit.keras.preparation import Element, in_floats

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

Tensor: TypeAlias = tf.Tensor
Stream: TypeAlias = tf.data.Dataset
Sampling = Literal["proportional", "uniform"]

_PREFETCH = 2  # batches


def raw_batches(
    frames: FrameTable,
    config: AugmentationConfig,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    *,
    sampling: Sampling = "proportional",
    cache: Cache = NOT_KEPT,
    left_out: LeftOut | None = None,
) -> Stream:
    """Endless stream of raw batches (`keras.preparation`); it starts with that of step `first_step`.

    Element s is a function of (seed, s) alone. Sample k of the stream is frame permutation(seed, k // N)[k % N], so
    batches cross the borders of epochs. "uniform" takes from the sources in turn instead, each in its own
    permutation, however many frames they have. Where the image of a frame cannot be read, the next one takes its
    place. left_out: where such images go; None = there may be none. Batches have always `batch_size` frames.
    """
    layout = ImageLayout.from_spec(config.preprocessing)
    order = _order(frames, seed, sampling)
    spatial = augmentation.changes_space(config.spatial_augmentation)
    load = _loader(frames, layout, left_out or LeftOut(len(frames), 0), whole=spatial, cache=cache)
    # Canvases of different sizes make no batch: there each image is warped to the network's size by itself.
    alone = spatial and _canvas(frames, layout) is None
    weights = tf.constant(frames.weights)

    def sample(number: Tensor) -> Element:
        index, pixels, boxes, class_ids = load(order(number))
        drawn = _drawn(config, layout, tf.stack([tf.constant(seed, tf.int64), number]))
        if alone:
            matrix = drawn.pop("space")
            pixels = augmentation.warp(in_floats(pixels), matrix, layout.width, layout.height)
            boxes = augmentation.transform_boxes(boxes, matrix)
        return {
            "pixels": pixels,
            "boxes": boxes,
            "class_ids": class_ids,
            "weight": weights[index],
            "index": index,
            **drawn,
        }

    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    samples = tf.data.Dataset.range(first_step * batch_size, np.iinfo(np.int64).max).map(sample, **parallel)
    return samples.batch(batch_size, drop_remainder=True, **parallel).prefetch(_PREFETCH)


def on_device(strategy: tf.distribute.Strategy, stream: Stream) -> Iterable[Element]:
    """The batches of a stream, shared out among the devices of `strategy` and copied there ahead of their steps."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus and not tf.distribute.has_strategy() and strategy is tf.distribute.get_strategy():
        # The default strategy leaves batches on the CPU, and each step would wait for the copy of its own.
        strategy = tf.distribute.OneDeviceStrategy(gpus[0].name)
    batches: Iterable[Element] = strategy.experimental_distribute_dataset(stream)
    return batches


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
    frames: FrameTable, layout: ImageLayout, left_out: LeftOut, *, whole: bool, cache: Cache
) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """index -> index, image uint8 [h, w, C], boxes [n, 4] in its pixels, class ids [n].

    The index is that of another frame where the image cannot be read, see `FrameImages.or_next`.
    `whole`: the image before its window is cut out, and boxes relative to that.
    """
    images = FrameImages(frames, layout, whole=whole, cache=cache)
    boxes = tf.constant(network_boxes(frames.boxes, frames.object_sizes, layout, whole=whole))
    class_ids, splits = tf.constant(frames.class_ids), tf.constant(frames.row_splits)
    width, height = (_canvas(frames, layout) or (None, None)) if whole else (layout.width, layout.height)

    def read(row: np.int64) -> tuple[np.int64, Pixels]:
        found, pixels = images.or_next(int(row), left_out)
        return np.int64(found), pixels

    def load(index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        index, image = tf.numpy_function(read, [index], (tf.int64, tf.uint8), stateful=False)
        index.set_shape([])
        image.set_shape([height, width, layout.channels])
        rows = slice(splits[index], splits[index + 1])
        padding = [[0, frames.max_objects - (splits[index + 1] - splits[index])]]
        padded = tf.pad(boxes[rows], [*padding, [0, 0]]), tf.pad(class_ids[rows], padding, constant_values=-1)
        padded[0].set_shape([frames.max_objects, 4])
        padded[1].set_shape([frames.max_objects])
        return index, image, *padded

    return load


def _canvas(frames: FrameTable, layout: ImageLayout) -> tuple[int, int] | None:
    """Width and height of the canvases of all frames, None where they differ."""
    sizes = np.unique(frames.sizes, axis=0).tolist()
    found = {layout.padded((width, height)) for width, height in sizes}
    return found.pop() if len(found) == 1 else None


def _drawn(config: AugmentationConfig, layout: ImageLayout, seed: Tensor) -> Element:
    """What happens to an image, by the seed [2]: the matrices "space" [3, 3] and "color" [4, 4], if it may change."""
    space, color = tf.unstack(tf.random.split(seed, 2, alg="philox"))
    drawn = {}
    if augmentation.changes_space(config.spatial_augmentation):
        size = layout.width, layout.height
        drawn["space"] = augmentation.random_spatial(config.spatial_augmentation, *size, layout.crop, space)
    if layout.channels == 3 and augmentation.changes_color(config.color_augmentation):
        drawn["color"] = augmentation.random_color(config.color_augmentation, color)
    return drawn


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
