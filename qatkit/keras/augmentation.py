"""Random changes of training images and their boxes, in TensorFlow.

Spatial matrices work on row vectors in pixels and lead from the augmented image to the source image:
[x_source, y_source, 1] = [x, y, 1] S with S = rotation . zoom . translation . flip . crop; seen from the image
the operations happen in the reverse order. Colour matrices: [r, g, b, 1] C, C = contrast . hue_saturation .
brightness. Both are those of TAO's default (multi-source) loader, with these differences: the vertical flip exists,
a rotated box is the bounding box of its four rotated corners, and boxes are clipped (`dataset.batches.visible`).
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from qatkit.spec import AugmentationConfig

Tensor: TypeAlias = tf.Tensor

BACKGROUND = 0.5  # grey, beyond the source image

# TAO's hue and saturation in RGB: K + s cos(h) A + s sin(h) B; K's columns are the luminance weights.
_K = np.repeat(np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=1)
_A = np.eye(3, dtype=np.float32) - _K
_B = np.array([[0.168, -0.328, 1.250], [0.330, 0.035, -1.050], [-0.497, 0.292, -0.203]], np.float32)


def flip(horizontal: Tensor, vertical: Tensor, width: float, height: float) -> Tensor:
    """[3, 3]: mirror where the flags (0.0 or 1.0) are set."""
    return _matrix(
        [1 - 2 * horizontal, 0.0, 0.0], [0.0, 1 - 2 * vertical, 0.0], [horizontal * width, vertical * height, 1.0]
    )


def translation(x: Tensor, y: Tensor) -> Tensor:
    """[3, 3]: the source point is (x, y) pixels away; also the matrix of a crop whose window begins there."""
    return _matrix([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [x, y, 1.0])


def zoom(ratio_x: Tensor, ratio_y: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[3, 3]: source = (position - (x, y)) * ratio; a ratio above 1 shrinks the image and puts it at (x, y)."""
    return _matrix([ratio_x, 0.0, 0.0], [0.0, ratio_y, 0.0], [-ratio_x * x, -ratio_y * y, 1.0])


def rotation(angle: Tensor, width: float, height: float) -> Tensor:
    """[3, 3]: turn by `angle` (radians) about the centre of a canvas of width x height pixels."""
    c, s = tf.cos(angle), tf.sin(angle)
    x = height * s / 2 - width * c / 2 + width / 2
    y = height / 2 - height * c / 2 - width * s / 2
    return _matrix([c, s, 0.0], [-s, c, 0.0], [x, y, 1.0])


def contrast(change: Tensor, center: Tensor) -> Tensor:
    """[4, 4]: multiply the distance from `center` by 1 + change."""
    return _color(tf.eye(3) * (1 + change), tf.fill([3], -change * center))


def hue_saturation(angle: Tensor, saturation: Tensor) -> Tensor:
    """[4, 4]: turn the hue by `angle` (radians) and multiply the saturation."""
    return _color(_K + saturation * tf.cos(angle) * _A + saturation * tf.sin(angle) * _B, tf.zeros(3))


def brightness(offset: Tensor) -> Tensor:
    """[4, 4]: add `offset` [3] to red, green and blue."""
    return _color(tf.eye(3), offset)


def random_spatial(
    config: AugmentationConfig.SpatialAugmentation, width: int, height: int, crop: tuple[int, int], seed: Tensor
) -> Tensor:
    """A spatial matrix [3, 3] within the limits of the spec, for an image of width x height after cropping.

    seed: integers [2], all that the result depends on.
    """
    u = tf.unstack(tf.random.stateless_uniform([9], seed, alg="philox"))
    turned = tf.cast(u[0] < (config.rotate_probability or 1.0), tf.float32)
    angle = np.deg2rad(config.rotate_rad_max) * (2 * u[1] - 1) * turned
    low, high = config.zoom_min or 1.0, config.zoom_max or 1.0
    ratio = low + (high - low) * u[2]
    steps = [
        rotation(angle, width, height),
        zoom(ratio, ratio, u[3] * (width - width / ratio), u[4] * (height - height / ratio)),
        translation(_whole(u[5], config.translate_max_x), _whole(u[6], config.translate_max_y)),
        flip(_happens(u[7], config.hflip_probability), _happens(u[8], config.vflip_probability), width, height),
        translation(*crop),
    ]
    return reduce(operator.matmul, steps)


def random_color(config: AugmentationConfig.ColorAugmentation, seed: Tensor) -> Tensor:
    """A colour matrix [4, 4] within the limits of the spec. seed: integers [2]."""
    # Normal, cut at two standard deviations; a spec's maximum is that cut.
    n = tf.unstack(tf.random.stateless_truncated_normal([3], seed, alg="philox"))
    u = tf.random.stateless_uniform([], seed, alg="philox")
    return reduce(
        operator.matmul,
        [
            contrast(n[0] * config.contrast_scale_max / 2, config.contrast_center),
            hue_saturation(
                n[1] * np.deg2rad(config.hue_rotation_max) / 2, 1 + (2 * u - 1) * config.saturation_shift_max
            ),
            brightness(tf.fill([3], n[2] * config.color_shift_stddev)),
        ],
    )


def changes_space(config: AugmentationConfig.SpatialAugmentation) -> bool:
    """Whether the spec allows any spatial matrix but the identity."""
    return bool(
        config.hflip_probability
        or config.vflip_probability
        or config.translate_max_x >= 1
        or config.translate_max_y >= 1
        or config.rotate_rad_max
        or (config.zoom_min or 1.0, config.zoom_max or 1.0) != (1.0, 1.0)
    )


def changes_color(config: AugmentationConfig.ColorAugmentation) -> bool:
    """Whether the spec allows any colour matrix but the identity."""
    return bool(
        config.color_shift_stddev
        or config.hue_rotation_max
        or config.saturation_shift_max
        or config.contrast_scale_max
    )


def warp(image: Tensor, matrix: Tensor, width: int, height: int, background: float = BACKGROUND) -> Tensor:
    """Sample `image` [h, w, C] float32 at the points that `matrix` gives -> [height, width, C].

    Pixel centres are at +0.5. Bilinear; each of the four neighbours outside `image` counts as `background`.
    """
    half = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 1]], np.float32)
    indices = half @ matrix @ np.linalg.inv(half).astype(np.float32)
    # The operation wants the column-vector form, row by row, without its last element.
    transform = tf.reshape(tf.transpose(indices), [1, 9])[:, :8]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=transform,
        output_shape=[height, width],
        fill_value=background,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return warped[0]


def recolor(image: Tensor, matrix: Tensor) -> Tensor:
    """Apply a colour matrix to `image` [h, w, 3] and clip to 0..1."""
    return tf.clip_by_value(tf.tensordot(image, matrix[:3, :3], 1) + matrix[3, :3], 0.0, 1.0)


def transform_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Where boxes [n, 4] (x1 y1 x2 y2 in the source image) are in the augmented image of `matrix`: [n, 4].

    The bounding box of the four transformed corners.
    """
    x1, y1, x2, y2 = tf.unstack(boxes, axis=1)
    corners = tf.stack(
        [tf.stack([x1, x2, x1, x2], 1), tf.stack([y1, y1, y2, y2], 1), tf.ones([tf.shape(boxes)[0], 4])], axis=2
    )
    moved = tf.tensordot(corners, tf.linalg.inv(matrix), 1)[:, :, :2]
    return tf.concat([tf.reduce_min(moved, axis=1), tf.reduce_max(moved, axis=1)], axis=1)


def _matrix(*rows: list[Tensor | float]) -> Tensor:
    return tf.stack([tf.stack([tf.cast(value, tf.float32) for value in row]) for row in rows])


def _color(linear: Tensor, offset: Tensor) -> Tensor:
    """[3, 3] and [3] -> [4, 4]."""
    rows = tf.concat([linear, tf.reshape(offset, [1, 3])], axis=0)
    return tf.concat([rows, tf.constant([[0.0], [0.0], [0.0], [1.0]])], axis=1)


def _whole(u: Tensor, limit: float) -> Tensor:
    """Uniform over the integers -int(limit)..int(limit), from `u` in [0, 1)."""
    most = int(limit)
    return tf.floor(u * (2 * most + 1)) - most


def _happens(u: Tensor, probability: float) -> Tensor:
    return tf.cast(u < probability, tf.float32)
