"""Which images a calibration cache was measured on, so that it can be made again: `cal.images.json` by `cal.bin`."""

from __future__ import annotations

from pathlib import Path

import qatkit
from qatkit.dataset.calibration_images import CalibrationImages
from qatkit.files import sha256, write_json


def record_path(cache: Path) -> Path:
    """`cal.bin` -> `cal.images.json`."""
    return cache.with_suffix(".images.json")


def write_record(cache: Path, calibrator: str, images: CalibrationImages) -> Path:
    """Record beside the file `cache` that `calibrator` measured its ranges on `images`; return the record's path.

    It names the cache by its SHA-256, so that the record of a cache that is gone does not describe its successor.
    """
    path = record_path(cache)
    record = {
        "qatkit": qatkit.__version__,
        "cache": cache.name,
        "cache_sha256": sha256(cache),
        "calibrator": calibrator,
        **images.record(),
    }
    write_json(path, record)
    return path
