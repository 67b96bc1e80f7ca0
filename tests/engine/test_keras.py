from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qatkit.detectnet.labels import Labels
from qatkit.engine.keras import KerasEngine, predictor
from qatkit.errors import ModelError
from qatkit.keras.network import to_keras
from qatkit.model.file import Model
from qatkit.quantization.placement import place
from qatkit.quantization.plan import QuantizationPlan
from tests.support.networks import residual
from tests.support.reference import evaluate, nchw

MODEL = Model(residual(projection=True).graph(), Labels(("person", "bag"), box_scale=20.0, box_offset=0.25))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, *MODEL.graph.input.shape), np.float32)


def test_a_float_model() -> None:
    engine = KerasEngine.from_model(MODEL)
    assert (engine.name, engine.precision) == ("keras", "fp32")
    assert (engine.info.input_shape, engine.info.labels.classes) == ((16, 24, 3), ("person", "bag"))
    assert (engine.info.labels.box_scale, engine.info.labels.box_offset) == (20.0, 0.25)


@pytest.mark.parametrize("count", [1, 3])
def test_outputs_are_coverage_and_boxes_in_nchw(count: int) -> None:
    cov, bbox = KerasEngine.from_model(MODEL).predict(images(count))
    expected = evaluate(MODEL.graph, images(count))
    assert (cov.shape, bbox.shape) == ((count, 2, 8, 12), (count, 8, 8, 12))
    assert cov.dtype == bbox.dtype == np.float32
    assert cov.flags.c_contiguous and bbox.flags.c_contiguous
    assert_allclose(cov, nchw(expected["output_cov/Sigmoid"]), rtol=1e-4, atol=1e-6)
    assert_allclose(bbox, nchw(expected["output_bbox"]), rtol=1e-4, atol=1e-5)


def test_a_predictor_follows_the_weights_of_its_model() -> None:
    """Validation during training predicts with the present weights, not those of its first call."""
    network = to_keras(MODEL.graph)
    predict = predictor(network.model)
    _, before = predict(images(2))
    network.write(
        {name: array if name != "output_bbox/bias" else array + 1 for name, array in MODEL.graph.weights.items()}
    )
    _, after = predict(images(2))
    assert_allclose(after, before + 1, rtol=1e-5, atol=1e-6)


def test_a_qat_model_without_ranges() -> None:
    with pytest.raises(ModelError, match="holds no range"):
        KerasEngine.from_model(replace(MODEL, plan=place(MODEL.graph)))


def test_a_qat_model_with_the_plan_of_another_network() -> None:
    with pytest.raises(ModelError, match="quantization plan"):
        KerasEngine.from_model(replace(MODEL, plan=QuantizationPlan("tensorrt", ("nowhere",), (), {})))
