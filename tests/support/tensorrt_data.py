"""TensorRT itself, and what its 8.5.3 made of two networks: beside the checkout, or where QATKIT_SHARED says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qatkit.engine.tensorrt.library import load_cuda, load_tensorrt
from qatkit.errors import EnvironmentProblem

FOLDER = Path(os.environ.get("QATKIT_SHARED") or Path(__file__).parents[3] / "shared") / "golden" / "13_tensorrt"

needed = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER}: what TensorRT made is not here (QATKIT_SHARED names the folder of golden)"
)


def skip_without_tensorrt() -> None:
    try:
        load_tensorrt()
        load_cuda()
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))
