"""Measured ranges of an ONNX network."""

from __future__ import annotations

import numpy as np
import pytest

from qatkit.errors import DataError, ModelError, UsageError
from qatkit.export.calibrate import calibrate
from qatkit.export.deployed import deploy
from qatkit.export.onnx_model import to_onnx
from tests.export.test_onnx_model import METADATA, images_for
from tests.networks import residual
from tests.reference_network import evaluate


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
        assert found[deployed.tensor_of(trained)] == pytest.approx(peak, rel=1e-4)


@pytest.mark.parametrize("calibrator", ["entropy", "minmax", "percentile", "mse"])
def test_the_batch_size_does_not_matter(calibrator: str) -> None:
    graph, _, model = network()
    images = images_for(graph, 4)
    whole, single = (
        calibrate(model, batches, calibrator) for batches in ([images], [image[None] for image in images])
    )
    assert single == pytest.approx(whole, rel=1e-3)


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
