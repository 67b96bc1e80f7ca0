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


def warp(images: Tensor, matrices: Tensor, width: int, height: int, background: float = BACKGROUND) -> Tensor:
    """Sample `images` [B, h, w, C] float32 at the points that `matrices` [B, 3, 3] give -> [B, height, width, C].

    One image [h, w, C] and its matrix [3, 3] are taken too. Pixel centres are at +0.5. Bilinear; each of the four
    neighbours outside an image counts as `background`.
    """
    if len(images.shape) == 3:
        return warp(images[tf.newaxis], matrices[tf.newaxis], width, height, background)[0]
    (a, b), (c, d), (x, y) = _affine(matrices)
    # Of indices of pixels instead of points, in the column-vector form and row by row.
    x, y = x + (a + c - 1) / 2, y + (b + d - 1) / 2
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, c, x, b, d, y, zero, zero], axis=-1),
        output_shape=[height, width],
        fill_value=background,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def recolor(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply colour matrices [..., 4, 4] to images [..., h, w, 3] and clip to 0..1."""
    # Products and sums one by one: on a GPU a matrix product would be rounded to TF32.
    rows = [row[..., tf.newaxis, tf.newaxis, :] for row in tf.unstack(matrices[..., :3], axis=-2)]
    channels = tf.split(images, 3, axis=-1)
    changed = tf.add_n([channel * row for channel, row in zip(channels, rows)]) + rows[3]
    return tf.clip_by_value(changed, 0.0, 1.0)


def transform_boxes(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Where boxes [..., n, 4] (x1 y1 x2 y2 in the source image) are in the augmented image of its matrix [..., 3, 3].

    The bounding box of the four transformed corners.
    """
    (a, b), (c, d), (x, y) = (tuple(v[..., tf.newaxis, tf.newaxis] for v in row) for row in _affine(matrices))
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    right, down = tf.stack([x1, x2, x1, x2], -1) - x, tf.stack([y1, y1, y2, y2], -1) - y
    # The inverse of the matrix, written out as in `recolor`.
    determinant = a * d - b * c
    moved = (right * d - down * c) / determinant, (down * a - right * b) / determinant
    low, high = ([reduce_corners(v, axis=-1) for v in moved] for reduce_corners in (tf.reduce_min, tf.reduce_max))
    return tf.stack([*low, *high], axis=-1)


def _affine(matrices: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What matters of matrices [..., 3, 3]: the first two elements of each row, each [...]."""
    rows = tf.unstack(tf.cast(matrices, tf.float32), axis=-2)
    return [(row[..., 0], row[..., 1]) for row in rows]


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
