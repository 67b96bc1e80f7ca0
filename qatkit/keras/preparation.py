"""Batches as tf.data yields them -> what a training step learns from: all that is arithmetic, on the step's device.

tf.data decodes and draws (`keras.batches`); here the drawn matrices move pixels and boxes, a whole batch at once. A
raw batch has these keys, B frames with up to n objects each:

pixels: uint8 [B, h, w, C], images, or canvases where "space" is to be applied; float32 0..1 where it has been.
space: [B, 3, 3], where the spec changes space and it has not been applied. color: [B, 4, 4], where it changes colour.
boxes: float32 [B, n, 4] in the network input, reaching beyond it; with "space" in the canvas.
class_ids: int32 [B, n], -1 is padding. weight: float32 [B]. index: int64 [B].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import tensorflow as tf

from qatkit.dataset.batches import MIN_SIDE, MIN_VISIBLE
from qatkit.dataset.images import ImageLayout
from qatkit.keras import augmentation

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

Tensor: TypeAlias = tf.Tensor
Element: TypeAlias = dict[str, Tensor]


class Preparation:
    """Call it with a raw batch for one with the keys, shapes and dtypes of `dataset.batches.Batch`."""

    def __init__(self, config: AugmentationConfig) -> None:
        self._layout = ImageLayout.from_spec(config.preprocessing)
        self._min_size = config.preprocessing.min_bbox_width, config.preprocessing.min_bbox_height

    def __call__(self, raw: Element) -> Element:
        images, boxes = in_floats(raw["pixels"]), raw["boxes"]
        if "space" in raw:
            images = augmentation.warp(images, raw["space"], self._layout.width, self._layout.height)
            boxes = augmentation.transform_boxes(boxes, raw["space"])
        if "color" in raw:
            images = augmentation.recolor(images, raw["color"])
        layout = self._layout
        images = tf.ensure_shape(images, [None, layout.height, layout.width, layout.channels])
        boxes, class_ids = self._visible(boxes, raw["class_ids"])
        kept = {name: raw[name] for name in ("weight", "index")}
        return {"image": images, "boxes": boxes, "class_ids": class_ids, **kept}

    def _visible(self, boxes: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """As `dataset.batches.visible`, to the last bit."""
        width, height = self._layout.width, self._layout.height
        clipped = tf.clip_by_value(boxes, 0.0, np.array([width, height, width, height], np.float32))
        whole, sides = boxes[..., 2:] - boxes[..., :2], clipped[..., 2:] - clipped[..., :2]
        large = tf.reduce_all(sides >= np.maximum(self._min_size, MIN_SIDE).astype(np.float32), axis=-1)
        kept = large & (_product(sides) >= np.float32(MIN_VISIBLE) * _product(whole))
        return tf.where(kept[..., None], clipped, 0.0), tf.where(kept, class_ids, -1)


def in_floats(pixels: Tensor) -> Tensor:
    """Bytes 0..255 -> float32 0..1; floats as they are."""
    return tf.cast(pixels, tf.float32) / 255.0 if pixels.dtype == tf.uint8 else pixels


def _product(pairs: Tensor) -> Tensor:
    return pairs[..., 0] * pairs[..., 1]
