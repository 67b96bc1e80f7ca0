"""What the network says about each cell -> boxes in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.grid import Grid


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
