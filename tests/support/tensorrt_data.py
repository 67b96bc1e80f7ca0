"""What TensorRT 8.5.3 made of two networks: beside the checkout, or in the folder that QATKIT_SHARED names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("QATKIT_SHARED") or Path(__file__).parents[3] / "shared") / "golden" / "13_tensorrt"

needed = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER}: what TensorRT made is not here (QATKIT_SHARED names the folder of golden)"
)
