"""Errors of single tensors by hand, and of a whole exported network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qatkit.analysis.tensor_error import (
    INHERITED,
    LIMIT_DB,
    ErrorMeter,
    QuantizedTensor,
    TensorError,
    decibels,
    layer_errors,
    quantized_tensors,
)
from qatkit.engine.onnx_file import OnnxFile
from qatkit.errors import ModelError
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import export
from tests.support.models import QAT_TENSORS, float_model, images_of, qat_model


@pytest.mark.parametrize(
    "power, error, expected",
    [
        (0, 0, LIMIT_DB),
        (0, 1, -LIMIT_DB),
        (5, 0, LIMIT_DB),
        (100, 1, 20),
        (1, 100, -20),
        (1e300, 1e-300, LIMIT_DB),
    ],
)
def test_decibels(power: float, error: float, expected: float) -> None:
    assert decibels(power, error) == pytest.approx(expected)


def measured(values: list[float], found: list[float], scale: float | None) -> TensorError:
    meter = ErrorMeter(scale)
    for one, two in zip(values, found):
        meter.add(np.array([[one]], np.float32), np.array([[two]], np.float32))
    return meter.result("conv/Relu:0")


def test_error_by_hand() -> None:
    """Scale 1: 200 is clipped to 127, -3.25 rounded to -3; the INT8 network has 120 and -3."""
    error = measured([200.0, -3.25, 0.0, 2.0], [120.0, -3.0, 0.0, 2.0], 1.0)
    power = 200**2 + 3.25**2 + 2**2
    assert error.sqnr_db == pytest.approx(10 * np.log10(power / (80**2 + 0.25**2)))
    assert error.own_sqnr_db == pytest.approx(10 * np.log10(power / (73**2 + 0.25**2)))
    assert error.saturation == 0.25
    assert error.clipping == pytest.approx(73**2 / (73**2 + 0.25**2))
    assert (error.amax, error.peak, error.percentile) == (127, 200, 200)


def test_what_rounds_to_the_last_code_is_not_saturated() -> None:
    assert measured([127.4, -127.4], [0, 0], 1.0).saturation == 0
    assert measured([127.6, -127.6], [0, 0], 1.0).saturation == 1


def test_an_output_has_no_range() -> None:
    error = measured([1.0, 3.0], [1.0, 2.0], None)
    assert error.sqnr_db == pytest.approx(10.0)
    assert (error.own_sqnr_db, error.channel_sqnr_db, error.saturation) == (None, None, None)
    assert (error.clipping, error.amax) == (None, None)
    assert error.cause == ""


def test_power_of_many_values() -> None:
    meter = ErrorMeter(None)
    meter.add(np.full((3, 2, 300, 300), 0.1, np.float32), np.full((3, 2, 300, 300), 0.2, np.float32))
    assert meter.result("x").sqnr_db == pytest.approx(0, abs=1e-6)


def test_the_median_channel_is_dwarfed() -> None:
    """Scale 1: one channel of 100s, one dead, three of 0.75 (rounded to 1: 9.5 dB)."""
    values = np.repeat(np.array([100, 0, 0.75, 0.75, 0.75], np.float32), 4).reshape(1, 5, 2, 2)
    meter = ErrorMeter(1.0)
    meter.add(values, values)
    error = meter.result("x")
    assert error.channel_sqnr_db == pytest.approx(20 * np.log10(3))
    assert error.own_sqnr_db is not None and error.own_sqnr_db > 40
    assert error.cause == "a few channels dwarf the others"


def test_a_dead_tensor() -> None:
    meter = ErrorMeter(1.0)
    meter.add(np.zeros((1, 2, 3, 3), np.float32), np.zeros((1, 2, 3, 3), np.float32))
    error = meter.result("x")
    assert (error.sqnr_db, error.own_sqnr_db, error.channel_sqnr_db) == (LIMIT_DB, LIMIT_DB, LIMIT_DB)
    assert (error.saturation, error.clipping, error.percentile, error.peak, error.cause) == (0, 0, 0, 0, "")


NOISY = TensorError("conv/Relu:0", 10.0, 12.0, 8.0, 0.0, 0.0, 4.0, 3.0, 4.0)


@pytest.mark.parametrize(
    "changes, cause",
    [
        ({"sqnr_db": 30.0}, ""),
        ({"own_sqnr_db": None}, ""),
        ({"own_sqnr_db": 40.0, "channel_sqnr_db": 35.0}, INHERITED),
        ({"own_sqnr_db": 40.0, "sqnr_db": 40.0}, "a few channels dwarf the others"),
        ({"own_sqnr_db": 40.0, "sqnr_db": 40.0, "channel_sqnr_db": 25.0}, ""),
        ({"clipping": 0.9}, "range too small: clips"),
        ({"amax": 10.0}, "range too large: outliers"),
        ({}, "spread too wide for 8 bits"),
    ],
)
def test_cause(changes: dict[str, Any], cause: str) -> None:
    assert replace(NOISY, **changes).cause == cause


@pytest.mark.parametrize(
    "tensor, layer",
    [
        ("input_1:0", "input_1"),
        ("a/Relu:0", "a"),
        ("output_cov/Sigmoid:0", "output_cov"),
        ("b/batchnorm/add_1", "b"),
    ],
)
def test_layer(tensor: str, layer: str) -> None:
    assert replace(NOISY, tensor=tensor).layer == layer


@pytest.fixture(params=["ptq", "qat"])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[OnnxFile, OnnxFile, np.ndarray]:
    model = qat_model() if request.param == "qat" else float_model()
    options = ExportOptions(data_type="int8", calibrator="minmax")
    report = export(model, tmp_path / "model.onnx", options, [images_of(model)])
    assert report.qdq is not None
    return OnnxFile.read(report.onnx), OnnxFile.read(report.qdq), images_of(model)


def test_errors_of_a_network(exported: tuple[OnnxFile, OnnxFile, np.ndarray]) -> None:
    clean, explicit, images = exported
    errors = layer_errors(clean, explicit, [images[:2], images[2:]])
    assert [error.tensor for error in errors] == [*QAT_TENSORS, "output_bbox/BiasAdd:0", "output_cov/Sigmoid:0"]
    image, *inner = errors[:-2]
    # Nothing is rounded before the image; all errors before a tensor only add to its own.
    assert image.sqnr_db == image.own_sqnr_db
    for error in inner:
        assert error.own_sqnr_db is not None and 15 < error.sqnr_db < error.own_sqnr_db
        # The ranges of the QAT network are from before its kernels were rounded.
        assert error.amax == pytest.approx(error.peak, rel=5e-3)
    # Uniform values in 0..1, rounding errors uniform within half a code.
    assert image.sqnr_db == pytest.approx(10 * np.log10(127**2 * 12 / 3), abs=0.2)


def test_a_clean_network_is_no_int8_network(exported: tuple[OnnxFile, OnnxFile, np.ndarray]) -> None:
    clean, explicit, _ = exported
    with pytest.raises(ModelError, match="has no Q/DQ nodes"):
        quantized_tensors(clean.graph)
    found = quantized_tensors(explicit.graph)
    assert found[1].name == "stem_relu/Relu:0" and found[1].rounded == "stem_relu/Relu:0_dequantized"
    assert found[-1] == QuantizedTensor("output_cov/Sigmoid:0", "output_cov/Sigmoid:0", None)
