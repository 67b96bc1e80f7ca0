"""The output grid of the network: how many cells, where they lie in the image, how box sides are encoded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.labels import DEFAULT_BOX_OFFSET, DEFAULT_BOX_SCALE
from qatkit.errors import SpecError
from qatkit.spec import Experiment


@dataclass(frozen=True)
class Grid:
    """`grid_height` x `grid_width` cells that lie over an image of `input_height` x `input_width` pixels.

    scale: pixels per unit of the bbox output.
    offset: pixels added to a cell's corner to get its reference point; 0.5 is the centre of the cell's first pixel,
    not the centre of the cell.

    Raises SpecError for sizes, scale or offset that make no sense.
    """

    input_width: int
    input_height: int
    grid_width: int
    grid_height: int
    scale: float = DEFAULT_BOX_SCALE
    offset: float = DEFAULT_BOX_OFFSET

    def __post_init__(self) -> None:
        if min(self.input_width, self.input_height, self.grid_width, self.grid_height) < 1:
            raise SpecError(f"image and grid must have at least one pixel and one cell, got {self}")
        if not 0 < self.scale < math.inf:
            raise SpecError(f"objective_set.bbox.scale must be positive, got {self.scale}")
        if not 0 <= self.offset < math.inf:
            raise SpecError(f"objective_set.bbox.offset must not be negative, got {self.offset}")

    @classmethod
    def from_spec(cls, experiment: Experiment, grid_width: int, grid_height: int) -> Grid:
        """The grid of a training spec whose network answers with `grid_height` x `grid_width` cells."""
        image = experiment.augmentation_config.preprocessing
        bbox = experiment.model_config.objective_set.bbox
        width, height = image.output_image_width, image.output_image_height
        return cls(width, height, grid_width, grid_height, bbox.scale, bbox.offset)

    @property
    def pitch_x(self) -> float:
        """Pixels from one cell to the next: the ratio of the sizes, which is the stride if that divides the image."""
        return self.input_width / self.grid_width

    @property
    def pitch_y(self) -> float:
        """Pixels from one row of cells to the next."""
        return self.input_height / self.grid_height

    def points_x(self) -> NDArray[np.float32]:
        """[grid_width] x of the cells' reference points, in pixels."""
        return (np.arange(self.grid_width) * self.pitch_x + self.offset).astype(np.float32)

    def points_y(self) -> NDArray[np.float32]:
        """[grid_height] y of the cells' reference points, in pixels."""
        return (np.arange(self.grid_height) * self.pitch_y + self.offset).astype(np.float32)


def decode(bbox: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Boxes [B, C, h, w, 4] as x1, y1, x2, y2 in network-input pixels, of the bbox output [B, 4C, h, w].

    Channel 4 * class + side holds the distance from the cell's reference point to the box's left, top, right or
    bottom side, in units of grid.scale. Boxes are clipped to the image; x2 >= x1 and y2 >= y1.
    """
    batch, channels, height, width = bbox.shape
    sides = bbox.reshape(batch, channels // 4, 4, height, width) * np.float32(grid.scale)
    x, y = grid.points_x(), grid.points_y()[:, None]
    boxes = np.empty((batch, channels // 4, height, width, 4), np.float32)
    boxes[..., 0] = np.clip(x - sides[:, :, 0], 0, grid.input_width)
    boxes[..., 1] = np.clip(y - sides[:, :, 1], 0, grid.input_height)
    boxes[..., 2] = np.clip(x + sides[:, :, 2], boxes[..., 0], grid.input_width)
    boxes[..., 3] = np.clip(y + sides[:, :, 3], boxes[..., 1], grid.input_height)
    return boxes
