"""What TensorRT 8.5.3 computed of two exports in INT8, against what the INT8 engine computes of the same files.

Outputs and images lie with the networks in a folder beside the checkout, or in the one that QATKIT_SHARED names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from qatkit.engine.onnx_runtime import open_onnx
from qatkit.evaluation.evaluate import EvaluationSettings, Predict, evaluate
from qatkit.spec import load_experiment
from tests.support.tensorrt_data import FOLDER, needed

BATCH = 8

# From quantization-aware training; and calibrated, with channels that are up to 256 times as wide as others.
CACHES = {"qat": "cal.bin", "wide": "ptq.bin"}
# Percent, of TensorRT's outputs.
MAPS = {"qat": 97.583, "wide": 75.275}

pytestmark = needed

Outputs = tuple[np.ndarray, np.ndarray]


@cache
def validation_set() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "images.npz") as archive:
        return dict(archive)


def batches() -> Iterator[dict[str, Any]]:
    found = validation_set()
    for start in range(0, len(found["images"]), BATCH):
        part = {name: values[start : start + BATCH] for name, values in found.items()}
        yield {**part, "image": part.pop("images").astype(np.float32) / 255}


def of_tensorrt(engine: str) -> Outputs:
    with np.load(FOLDER / engine / "tensorrt_cache.npz") as archive:
        return archive["cov"], archive["bbox"]


@cache
def of_int8_engine(engine: str) -> Outputs:
    path = FOLDER / engine / "model.onnx"
    predict = open_onnx(path, cal_cache=FOLDER / engine / CACHES[engine], threads=1).predict
    covs, bboxes = zip(*(predict(batch["image"]) for batch in batches()))
    return np.concatenate(covs), np.concatenate(bboxes)


def mean_average_precision(outputs: Outputs) -> float:
    """Percent, of outputs for the whole validation set."""
    return evaluate(
        replayed(*outputs), batches(), EvaluationSettings.from_spec(load_experiment(FOLDER / "spec.txt"))
    ).map


def replayed(cov: np.ndarray, bbox: np.ndarray) -> Predict:
    parts = zip(np.split(cov, len(cov) // BATCH), np.split(bbox, len(bbox) // BATCH))
    predict: Callable[..., Any] = lambda images: next(parts)  # noqa: E731
    return predict


@pytest.mark.parametrize("engine", CACHES)
def test_the_outputs_are_tensorrts(engine: str) -> None:
    """A bias that is rounded to the integer sums, or one rounding too many, is 0.003 of coverage off."""
    (cov, bbox), (expected_cov, expected_bbox) = of_int8_engine(engine), of_tensorrt(engine)
    assert np.abs(cov - expected_cov).mean() < 0.00005
    assert np.abs(bbox - expected_bbox).mean() < 0.001


@pytest.mark.parametrize("engine", CACHES)
def test_the_mean_average_precision_is_tensorrts(engine: str) -> None:
    assert mean_average_precision(of_tensorrt(engine)) == pytest.approx(MAPS[engine], abs=0.0005)
    assert mean_average_precision(of_int8_engine(engine)) == pytest.approx(MAPS[engine], abs=0.1)
