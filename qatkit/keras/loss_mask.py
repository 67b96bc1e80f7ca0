"""Loss masks: in boxes that a spec selects the cost counts less, or not at all (`loss_mask_label_filter`).

Reference: TAO's label filters and its loss mask rasterizer. Differences: a source class is what records call an
object, also where the mapping gives it another name or leaves it out, so that `dontcare` can be masked; and boxes are
those that are trained on, clipped to the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.detectnet.grid import Grid
from qatkit.detectnet.told_apart import ToldApart
from qatkit.keras.cost import OBJECTIVES
from qatkit.spec import Experiment, LabelFilter

# A cell belongs to a box if one of five by five points in it does.
_SAMPLES = (np.arange(5, dtype=np.float32) + 0.5) / 5


@dataclass(frozen=True)
class BoxFilter:
    """Selects boxes for some maps of the cost.

    low, high: limits of width and height in pixels, both inclusive. window: x1, y1, x2, y2 that a box overlaps.
    labels: [L] which label ids are selected whatever their class; None = size and place decide, in each map among the
    objects of its own class. maps: [C, 2] the classes and objectives (cov, bbox) for which it selects.
    """

    maps: NDArray[np.bool_]
    low: tuple[float, float] = (-np.inf, -np.inf)
    high: tuple[float, float] = (np.inf, np.inf)
    window: tuple[float, float, float, float] = (-np.inf, -np.inf, np.inf, np.inf)
    labels: NDArray[np.bool_] | None = None

    @classmethod
    def from_spec(cls, config: LabelFilter, maps: NDArray[np.bool_], apart: ToldApart) -> BoxFilter:
        """A LabelFilter message; 0 means that a limit is not set."""
        kind = config.WhichOneof("label_filter_params")
        if kind == "source_class_label_filter":
            return cls(maps, labels=apart.ids_named(config.source_class_label_filter.source_class_names))
        if kind == "bbox_dimensions_label_filter":
            size = config.bbox_dimensions_label_filter
            high = size.max_width or np.inf, size.max_height or np.inf
            return cls(maps, (size.min_width, size.min_height), high)
        crop = config.bbox_crop_label_filter
        window = crop.crop_left, crop.crop_top, crop.crop_right, crop.crop_bottom
        return cls(maps, window=window) if all(window) else cls(maps)  # as in TAO: without one side no window

    def selected(self, boxes: tf.Tensor, label_ids: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
        """bool [B, n, C, 2]: for which maps each of boxes [B, n, 4] is selected; ids of padding are -1."""
        if self.labels is not None:
            chosen = (label_ids >= 0) & tf.gather(tf.constant(self.labels), tf.maximum(label_ids, 0))
            return chosen[..., None, None] & tf.constant(self.maps)
        first, last = boxes[..., :2], boxes[..., 2:]
        size = last - first
        fits = (size >= tf.constant(self.low, tf.float32)) & (size <= tf.constant(self.high, tf.float32))
        window = tf.constant(self.window, tf.float32)
        here = (first < window[2:]) & (last > window[:2])
        own = tf.one_hot(class_ids, len(self.maps), on_value=True, off_value=False, dtype=tf.bool)
        return (tf.reduce_all(fits & here, axis=-1)[..., None] & own)[..., None] & tf.constant(self.maps)


@dataclass(frozen=True)
class LossMask:
    """multiplier: of the cost inside the selected boxes. preserve: not where an object of the map's class is."""

    grid: Grid
    apart: ToldApart
    filters: tuple[BoxFilter, ...] = ()
    multiplier: float = 0.0
    preserve: bool = False

    @classmethod
    def from_spec(cls, experiment: Experiment, grid: Grid) -> LossMask | None:
        """That of a training spec; None where nothing is masked."""
        config, apart = experiment.loss_mask_label_filter, ToldApart.from_spec(experiment)
        filters = []
        for item in config.objective_label_filter_configs:
            classes = [not item.target_class_names or name in item.target_class_names for name in apart.classes]
            objectives = [not item.objective_names or name in item.objective_names for name in OBJECTIVES]
            filters.append(BoxFilter.from_spec(item.label_filter, np.outer(classes, objectives), apart))
        if not filters:
            return None
        return cls(grid, apart, tuple(filters), config.mask_multiplier, config.preserve_ground_truth)

    def class_ids(self, label_ids: tf.Tensor) -> tf.Tensor:
        """The class of each label id, -1 for none."""
        table = self.apart.table
        return tf.gather(tf.constant(table), tf.where(label_ids < 0, len(table) - 1, label_ids))

    def __call__(self, boxes: tf.Tensor, label_ids: tf.Tensor, cov: tf.Tensor) -> tf.Tensor:
        """[B, h, w, C, 2]: what multiplies the cost of each cell, class and objective.

        boxes: [B, n, 4] in network-input pixels. label_ids: [B, n]. cov: [B, h, w, C], the targets.
        """
        region = self._region(boxes, label_ids)
        if self.preserve:
            region &= (cov <= 0)[..., None]
        return tf.where(region, self.multiplier, 1.0)

    def _region(self, boxes: tf.Tensor, label_ids: tf.Tensor) -> tf.Tensor:
        class_ids = self.class_ids(label_ids)
        found = [one.selected(boxes, label_ids, class_ids) for one in self.filters]
        chosen = tf.cast(tf.reduce_any(tf.stack(found), axis=0), tf.float32)
        grid = self.grid
        across = _holds(boxes[..., 0] / grid.pitch_x, boxes[..., 2] / grid.pitch_x, grid.grid_width)
        down = _holds(boxes[..., 1] / grid.pitch_y, boxes[..., 3] / grid.pitch_y, grid.grid_height)
        return tf.einsum("bnh,bnw,bnco->bhwco", down, across, chosen) > 0


def _holds(first: tf.Tensor, last: tf.Tensor, cells: int) -> tf.Tensor:
    """float32 [B, n, cells]: 1 where a sample of the cell lies between first and last [B, n], in cells."""
    points = np.arange(cells, dtype=np.float32)[:, None] + _SAMPLES
    inside = (points > first[..., None, None]) & (points < last[..., None, None])
    return tf.cast(tf.reduce_any(inside, axis=-1), tf.float32)
