"""The reference of examples/benchmarks/int8_engine.py sees what is not TensorRT's arithmetic."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest

from qatkit.engine.int8 import lowering
from qatkit.engine.int8.bias import IntegerSums
from tests.support.exported import exported, images_for
from tests.support.networks import residual

BENCHMARK = Path(__file__).parents[2] / "examples" / "benchmarks" / "int8_engine.py"


@pytest.fixture
def difference(tmp_path: Path) -> tuple[int, float]:
    """The largest difference of a code, and the number in a million that differ."""
    export = exported(residual(projection=True))
    onnx.save(export.qdq, tmp_path / "model.qdq.onnx")
    code_differences = runpy.run_path(str(BENCHMARK))["code_differences"]
    largest, per_million = code_differences(tmp_path / "model.qdq.onnx", images_for(export.graph, 1))
    return largest, per_million


def test_the_engine_computes_tensorrts_codes(difference: tuple[int, float]) -> None:
    assert difference == (0, 0)


@pytest.fixture
def rounded_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Biases in whole units of the integer sums, as QLinearConv alone would have them."""

    def rounded(codes: np.ndarray, step: np.ndarray, bias: np.ndarray, limit: int) -> IntegerSums:
        integers = np.rint(bias / step).astype(np.int32)
        return IntegerSums(codes, step.astype(np.float32), integers, np.zeros(len(bias), np.uint8))

    monkeypatch.setattr(lowering, "integer_sums", rounded)


def test_rounded_biases_show(rounded_biases: None, difference: tuple[int, float]) -> None:
    largest, per_million = difference
    assert largest == 1
    assert per_million > 100
