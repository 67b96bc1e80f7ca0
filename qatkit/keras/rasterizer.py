"""Labelled boxes -> the target maps that the network learns to answer with (TensorFlow, usable inside tf.data).

Each box is drawn into the maps of its class as an ellipse around its centre (coverage), inside a larger concentric
ellipse (the deadzone) which wipes out what lies behind it. Formulas: TAO DetectNet_v2's rasterizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from qatkit.detectnet.grid import Grid
from qatkit.errors import SpecError

# Every cell is sampled at 4 x 4 points; its coverage is the share of them inside the ellipse.
_SAMPLES = (np.arange(4, dtype=np.float32) + 0.5) / 4
_MIN_RADIUS = 0.1  # cells, before `bbox_min_radius` is applied
_MIN_EXTENT_SQUARED = 0.01  # cells^2


@dataclass(frozen=True)
class CoverageShape:
    """How boxes of one class are drawn.

    center_x, center_y: the ellipse's centre, 0..1 of the box's width and height.
    radius_x, radius_y: its semi-axes as a share of the distance from the centre to the nearer edge, in (0, 1].
    min_radius: the smallest semi-axis, in cells.
    """

    center_x: float = 0.5
    center_y: float = 0.5
    radius_x: float = 0.4
    radius_y: float = 0.4
    min_radius: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.center_x <= 1 and 0 <= self.center_y <= 1):
            raise SpecError(f"cov_center_x and cov_center_y must lie in 0..1, got {self.center_x}, {self.center_y}")
        if not min(self.radius_x, self.radius_y, self.min_radius) > 0:
            raise SpecError(
                "cov_radius_x, cov_radius_y and bbox_min_radius must be positive, "
                f"got {self.radius_x}, {self.radius_y}, {self.min_radius}"
            )

    @classmethod
    def from_spec(cls, config: Any) -> CoverageShape:
        """The shape that a BboxRasterizerConfig.TargetClassConfig message describes."""
        return cls(
            config.cov_center_x, config.cov_center_y, config.cov_radius_x, config.cov_radius_y, config.bbox_min_radius
        )


class Ellipses(NamedTuple):
    """What is drawn for each box, in units of cells.

    center, radius (of the coverage), deadzone (its radius): [..., n, 2] x, y. inv_area: [..., n].
    """

    center: tf.Tensor
    radius: tf.Tensor
    deadzone: tf.Tensor
    inv_area: tf.Tensor


class Targets(NamedTuple):
    """Target maps, NHWC, float32; zero in cells that no box covers.

    cov: [B, h, w, C] coverage, multiples of 1/16 in 0..1.
    bbox: [B, h, w, 4C] distances from the cell's reference point to the left, top, right and bottom of the box, in
    units of grid.scale; channel 4 * class + side.
    cov_norm: [B, h, w, C] coverage divided by the ellipse's area in cells: the weight of the bbox cost.
    """

    cov: tf.Tensor
    bbox: tf.Tensor
    cov_norm: tf.Tensor


class Rasterizer:
    """Draws the boxes of frames on a grid."""

    def __init__(self, grid: Grid, shapes: Sequence[CoverageShape], deadzone_radius: float) -> None:
        """shapes: one per class, in the order of the network's classes.

        deadzone_radius: 0 (the deadzone is the coverage ellipse) .. 1 (it touches the nearer edges of the box).

        Raises SpecError for no class at all, or a deadzone outside 0..1.
        """
        if not shapes:
            raise SpecError("there is no class to draw targets for")
        if not 0 <= deadzone_radius <= 1:
            raise SpecError(f"bbox_rasterizer_config.deadzone_radius must lie in 0..1, got {deadzone_radius}")
        self.grid = grid
        self.shapes = tuple(shapes)
        self.deadzone_radius = deadzone_radius

    @classmethod
    def from_spec(cls, experiment: Any, grid: Grid) -> Rasterizer:
        """The rasterizer of an Experiment message.

        Raises SpecError for a class of cost_function_config that bbox_rasterizer_config does not describe.
        """
        config = experiment.bbox_rasterizer_config
        shapes = []
        for target_class in experiment.cost_function_config.target_classes:
            if target_class.name not in config.target_class_config:
                raise SpecError(f"bbox_rasterizer_config has no target_class_config for class '{target_class.name}'")
            shapes.append(CoverageShape.from_spec(config.target_class_config[target_class.name]))
        return cls(grid, shapes, config.deadzone_radius)

    def batch_targets(self, boxes: tf.Tensor, class_ids: tf.Tensor) -> Targets:
        """The target maps of a batch of frames: boxes [B, n, 4] in network-input pixels, class_ids [B, n].

        n may be unknown, or zero. Padding has class -1 and any coordinates.
        """
        # A box that ends lower in the image is nearer to the camera, so it is drawn later, over the others. Padding
        # comes last, where it is cut off: the frame with the most boxes of a whole data set is seldom in the batch.
        boxes, class_ids = tf.cast(boxes, tf.float32), tf.cast(class_ids, tf.int32)
        order = tf.argsort(tf.where(class_ids >= 0, boxes[..., 3], np.inf), axis=-1, stable=True)
        order = order[:, : tf.reduce_max(tf.math.count_nonzero(class_ids >= 0, axis=-1))]
        boxes, class_ids = tf.gather(boxes, order, batch_dims=1), tf.gather(class_ids, order, batch_dims=1)
        ellipses = self.ellipses(boxes, class_ids)
        coverage, winner = self._composite(ellipses, class_ids)
        return self._fill(coverage, winner, boxes, ellipses.inv_area)

    def ellipses(self, boxes: tf.Tensor, class_ids: tf.Tensor) -> Ellipses:
        """The ellipses of boxes [..., n, 4] in pixels; those of padding are arbitrary but finite."""
        shape = tf.gather(self._shape_table(), tf.maximum(class_ids, 0))
        center_share, radius_share, min_radius = shape[..., 0:2], shape[..., 2:4], shape[..., 4:5]
        boxes = boxes / self._pitch(4)
        low, high = boxes[..., :2], boxes[..., 2:]
        center = low + center_share * (high - low)
        to_edge = tf.where(center_share < 0.5, center - low, high - center)
        radius = tf.maximum(radius_share * to_edge, _MIN_RADIUS)
        # Both semi-axes grow together until the smaller one is large enough: the ellipse keeps its aspect ratio.
        radius = radius * tf.maximum(min_radius / tf.reduce_min(radius, axis=-1, keepdims=True), 1.0)
        deadzone = (1 - self.deadzone_radius) * radius + self.deadzone_radius * to_edge
        area = 4 * radius[..., 0] * radius[..., 1]
        return Ellipses(center, radius, tf.maximum(deadzone, radius), 1 / tf.maximum(area, 1.0))

    def _shape_table(self) -> tf.Tensor:
        rows = [(s.center_x, s.center_y, s.radius_x, s.radius_y, s.min_radius) for s in self.shapes]
        return tf.constant(rows, tf.float32)

    def _pitch(self, length: int) -> tf.Tensor:
        return tf.constant([self.grid.pitch_x, self.grid.pitch_y] * (length // 2), tf.float32)

    def _composite(self, ellipses: Ellipses, class_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw box after box: coverage and the index of the box seen in each cell (n = none), both [B, h, w, C]."""
        maps = [tf.shape(class_ids)[0], self.grid.grid_height, self.grid.grid_width, len(self.shapes)]
        of_class = tf.one_hot(class_ids, len(self.shapes), on_value=True, off_value=False, dtype=tf.bool)
        count = tf.shape(class_ids)[1]
        # All boxes at once where they do not depend on one another: on a GPU each operation in the loop costs more
        # than its arithmetic.
        erased = self._share_inside(ellipses.center, ellipses.deadzone)
        drawn = self._share_inside(ellipses.center, ellipses.radius)
        # The deadzone contains the coverage ellipse (erased >= drawn), so one comparison decides both of TAO's
        # tests: where the deadzone wins, the cell holds this box, or nothing if it is not covered.
        beats = tf.where(erased > 0, erased, -1.0)
        owner = tf.where(drawn > 0, tf.range(count)[None, :, None, None], count)

        def draw(state: tuple[tf.Tensor, tf.Tensor], box: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
            coverage, winner = state
            beats, drawn, owner = (values[..., None] for values in box[:3])
            wins = box[3][:, None, None, :] & (beats >= coverage)
            return tf.where(wins, drawn, coverage), tf.where(wins, owner, winner)

        box_major = [tf.transpose(v, [1, 0, *range(2, len(v.shape))]) for v in (beats, drawn, owner, of_class)]
        empty = (tf.zeros(maps), tf.fill(maps, count))
        result: tuple[tf.Tensor, tf.Tensor] = tf.foldl(draw, tuple(box_major), initializer=empty)
        return result

    def _share_inside(self, center: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
        """[B, n, h, w] share of each cell's samples strictly inside the ellipses with center and radius [B, n, 2]."""
        across = np.arange(self.grid.grid_width, dtype=np.float32)[:, None] + _SAMPLES
        down = np.arange(self.grid.grid_height, dtype=np.float32)[:, None] + _SAMPLES
        center, radius = center[:, :, None, None, :], radius[:, :, None, None, :]
        x = tf.square((across - center[..., 0]) / radius[..., 0])
        y = tf.square((down - center[..., 1]) / radius[..., 1])
        # Sample by sample: sixteen small comparisons are faster than one on [B, n, h, 4, w, 4] and its reduction.
        inside = [
            tf.cast(y[..., :, None, v] + x[..., None, :, u] < 1, tf.float32) for v in range(4) for u in range(4)
        ]
        return tf.add_n(inside) / len(inside)

    def _fill(self, coverage: tf.Tensor, winner: tf.Tensor, boxes: tf.Tensor, inv_area: tf.Tensor) -> Targets:
        """What the winning boxes write into their cells."""
        count = tf.shape(boxes)[1]
        # One box more, which the cells without a box refer to.
        boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
        inv_area = tf.pad(inv_area, [[0, 0], [0, 1]])
        sides = self._sides(tf.gather(boxes, winner, batch_dims=1))
        bbox = tf.where(winner[..., None] < count, sides, 0.0)
        shape = [tf.shape(winner)[0], self.grid.grid_height, self.grid.grid_width, 4 * len(self.shapes)]
        cov_norm = coverage * tf.gather(inv_area, winner, batch_dims=1)
        return Targets(coverage, tf.reshape(bbox, shape), cov_norm)

    def _sides(self, boxes: tf.Tensor) -> tf.Tensor:
        """[B, h, w, C, 4] distances from each cell's reference point to the left, top, right, bottom of its box."""
        points = np.stack(np.meshgrid(self.grid.points_x(), self.grid.points_y()), axis=-1)[None, :, :, None]
        low, size = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
        # TAO draws the distances as a gradient between opposite edges, with the square of the box's size at least
        # 0.01 cells: in boxes thinner than a tenth of a cell the distances change more slowly, or not at all.
        slope = tf.minimum(tf.square(size / self._pitch(2)) / _MIN_EXTENT_SQUARED, 1.0)
        before = (points - self.grid.offset - low) * slope + self.grid.offset
        return tf.concat([before, size - before], axis=-1) / self.grid.scale
