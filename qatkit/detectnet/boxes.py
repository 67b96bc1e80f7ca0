"""Boxes x1, y1, x2, y2 and their overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def areas(boxes: NDArray[np.floating], border: float = 0.0) -> NDArray[np.floating]:
    """[...] areas of boxes [..., 4], whose widths and heights are first enlarged by `border`."""
    return (boxes[..., 2] - boxes[..., 0] + border) * (boxes[..., 3] - boxes[..., 1] + border)


def iou(
    first: NDArray[np.floating], second: NDArray[np.floating], *, border: float = 0.0, regularizer: float = 0.0
) -> NDArray[np.floating]:
    """Intersection over union of boxes [..., 4] and [..., 4], broadcast against each other.

    border: pixels added to every width and height; 1 counts the border pixels of boxes in whole pixels, as Pascal VOC
    does. regularizer: square pixels added to the union. The overlap of two boxes without area is 0.
    """
    width = np.minimum(first[..., 2], second[..., 2]) - np.maximum(first[..., 0], second[..., 0]) + border
    height = np.minimum(first[..., 3], second[..., 3]) - np.maximum(first[..., 1], second[..., 1]) + border
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    union = areas(first, border) + areas(second, border) - intersection + regularizer
    overlap: NDArray[np.floating] = intersection / np.maximum(union, np.finfo(np.float32).tiny)
    return overlap
