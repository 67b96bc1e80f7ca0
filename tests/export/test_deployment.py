"""What is resolved of a model and its options before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qatkit.export.deployment import Deployment, ExportOptions
from qatkit.export.onnx_model import to_onnx
from qatkit.quantization.folding import snap_to_grid
from qatkit.quantization.placement import place
from tests.support.models import QAT_TENSORS, TENSORS, float_model, images_of, options, qat_model


def test_a_float_export_of_a_float_model_has_no_plan() -> None:
    model = float_model()
    deployment = Deployment.of(model, ExportOptions())
    assert (deployment.plan, deployment.trained, deployment.metadata.qat) == (None, False, "no")
    assert deployment.graph is model.graph
    assert (deployment.metadata.labels, deployment.metadata.stride) == (model.labels, 2)
    assert deployment.outputs == ("output_bbox/BiasAdd:0", "output_cov/Sigmoid:0")


def test_the_names_are_those_that_are_wanted() -> None:
    assert Deployment.of(float_model(), ExportOptions(tensor_names="uff")).outputs == (
        "output_bbox/BiasAdd",
        "output_cov/Sigmoid",
    )


@pytest.mark.parametrize(
    "changes, trained, snapped, qat",
    [
        ({}, True, True, "tensorrt"),
        ({"data_type": "fp16"}, True, False, "tensorrt"),
        ({"force_ptq": True}, False, False, "no"),
    ],
)
def test_what_is_kept_of_qat(tmp_path: Path, changes: dict[str, Any], trained: bool, snapped: bool, qat: str) -> None:
    model = qat_model()
    deployment = Deployment.of(model, options(tmp_path, **changes))
    assert (deployment.trained, deployment.metadata.qat, deployment.plan) == (trained, qat, place(model.graph))
    expected = snap_to_grid(model.graph, place(model.graph).weights) if snapped else model.graph
    for name, kernel in expected.weights.items():
        assert_array_equal(deployment.graph.weights[name], kernel)


@pytest.mark.parametrize("qat", [False, True])
def test_ranges_by_node_and_by_tensor(tmp_path: Path, qat: bool) -> None:
    model = qat_model() if qat else float_model()
    deployment = Deployment.of(model, options(tmp_path))
    clean = to_onnx(deployment.deployed, deployment.metadata)
    found = deployment.ranges(clean, None if qat else [images_of(model)])
    assert list(found.by_tensor) == (QAT_TENSORS if qat else TENSORS)
    assert found.uncovered == tuple(
        name for name in deployment.deployed.tensors.values() if name not in found.by_tensor
    )
    assert found.calibrator == (None if qat else "minmax")
    assert set(found.by_node) >= set(deployment.int8_plan.activations)
    by_node = deployment.by_node(found.by_tensor)
    assert by_node == {name: amax for name, amax in found.by_node.items() if name in by_node}
    assert np.isfinite(list(by_node.values())).all() and by_node["input_1"] == found.by_tensor["input_1:0"]
