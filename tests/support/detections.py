"""Detections without pictures."""

from __future__ import annotations

import numpy as np

from qatkit.analysis.differences import Sightings


def seen(*items: tuple[int, int, tuple[float, ...]]) -> Sightings:
    """Frame, class, box; all of the same confidence."""
    return Sightings(
        np.array([item[0] for item in items], np.int64),
        np.array([item[1] for item in items], np.int64),
        np.array([item[2] for item in items], np.float32).reshape(-1, 4),
        np.ones(len(items), np.float32),
    )
