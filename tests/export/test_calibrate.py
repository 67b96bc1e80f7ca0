"""Measured ranges of an ONNX network."""

from __future__ import annotations

import numpy as np
import pytest

from qatkit.errors import DataError, ModelError, UsageError
from qatkit.export.calibrate import calibrate, float_tensors
from qatkit.export.deployed import deploy
from qatkit.export.onnx_model import to_onnx
from qatkit.export.qdq import to_qdq_onnx
from qatkit.quantization.placement import place
from tests.support.exported import METADATA, images_for
from tests.support.networks import residual
from tests.support.reference import evaluate


def network():  # type: ignore[no-untyped-def]
    graph = residual(projection=True).graph()
    deployed = deploy(graph)
    return graph, deployed, to_onnx(deployed, METADATA)


def test_every_tensor_has_a_range_in_the_order_of_the_network() -> None:
    graph, deployed, model = network()
    images = images_for(graph, 5)
    found = calibrate(model, [images[:2], images[2:]], "minmax")
    assert list(found) == list(deployed.tensors.values())
    expected = evaluate(graph, images)
    for trained in deployed.origin:
        peak = np.abs(expected[trained]).max()
        assert found[deployed.trained_tensors[trained]] == pytest.approx(peak, rel=1e-4)


@pytest.mark.parametrize("calibrator", ["minmax", "percentile", "mse"])
def test_the_batch_size_does_not_matter(calibrator: str) -> None:
    graph, _, model = network()
    images = images_for(graph, 4)
    whole, single = (
        calibrate(model, batches, calibrator) for batches in ([images], [image[None] for image in images])
    )
    assert single == whole


def test_to_entropy_the_first_batch_matters_and_nothing_else() -> None:
    graph, _, model = network()
    images = images_for(graph, 4)
    together, apart, other = (
        calibrate(model, batches)
        for batches in ([images[:2], images[2:]], [images[1::-1], images[3:], images[2:3]], [images[2:], images[:2]])
    )
    assert apart == together
    assert other != together


def test_bins_end_where_the_first_batch_does() -> None:
    """Its largest pixel is 0.75; 0.9 needs the bins of 1.5."""
    graph, _, model = network()
    images = images_for(graph, 2)
    images[0] = np.linspace(0, 0.75, images[0].size).reshape(images[0].shape)
    images[1] = images[0] * 1.2
    bins = calibrate(model, [images[:1], images[1:]], tensors=["input_1:0"])["input_1:0"] / (1.5 / 2048)
    assert bins % 1 == pytest.approx(0.5, abs=1e-6)


def test_only_the_tensors_asked_for() -> None:
    graph, _, model = network()
    images = images_for(graph, 2)
    wanted = ["output_cov/Sigmoid:0", "a_relu/Relu:0", "input_1:0"]
    found = calibrate(model, [images], "mse", wanted)
    everything = calibrate(model, [images], "mse")
    assert list(found.items()) == [(name, amax) for name, amax in everything.items() if name in wanted]


def test_a_tensor_that_the_network_does_not_have_is_refused() -> None:
    graph, _, model = network()
    with pytest.raises(ModelError, match="no float tensor relu:0"):
        calibrate(model, [images_for(graph, 1)], tensors=["input_1:0", "relu:0"])


def test_tensors_of_other_types_are_left_out() -> None:
    """Codes and the constants of a network with explicit Q/DQ have no range."""
    graph, deployed, _ = network()
    plan = place(graph)
    model = to_qdq_onnx(deployed, plan, dict.fromkeys(plan.activations, 4.0), METADATA)
    names = float_tensors(model)
    assert "input_1:0_dequantized" in names
    assert not any(name.endswith("_quantized") for name in names)
    assert list(calibrate(model, [images_for(graph, 1)], "minmax")) == names


def test_the_model_stays_as_it_is() -> None:
    graph, _, model = network()
    before = model.SerializeToString()
    calibrate(model, [images_for(graph, 1)])
    assert model.SerializeToString() == before


def test_without_images_there_are_no_ranges() -> None:
    with pytest.raises(DataError, match="no images to calibrate with"):
        calibrate(network()[2], [])


def test_an_unknown_calibrator_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="there is no calibrator"):
        calibrate(network()[2], iter(()), "kl")


def test_values_that_are_no_numbers_name_the_tensor() -> None:
    graph, _, model = network()
    images = images_for(graph, 1)
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(ModelError, match="tensor input_1:0"):
        calibrate(model, [images])
