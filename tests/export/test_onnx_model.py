"""Exported networks compute what the graph says, under TAO's names."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose

from qatkit.errors import ModelError
from qatkit.export.deployed import deploy
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import to_onnx
from qatkit.graph import nodes as n
from tests.support.blocks import zoo
from tests.support.exported import METADATA, images_for
from tests.support.networks import residual
from tests.support.plain_onnx import run
from tests.support.reference import evaluate, nchw


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("network", [zoo, lambda: residual(projection=True)], ids=["zoo", "residual"])
def test_the_onnx_computes_what_the_graph_says(network, batch: int) -> None:  # type: ignore[no-untyped-def]
    graph = network().graph()
    images = images_for(graph, batch)
    expected = evaluate(graph, images)
    found = run(to_onnx(deploy(graph), METADATA), images)
    assert list(found) == ["output_bbox/BiasAdd:0", "output_cov/Sigmoid:0"]
    for tensor, name in zip(found.values(), graph.outputs):
        assert_allclose(tensor, nchw(expected[name]), rtol=1e-4, atol=1e-5 * np.abs(expected[name]).max())


def test_the_zoo_holds_every_kind_of_node() -> None:
    assert {type(node) for node in zoo().nodes} == set(n.NODE_TYPES.values())


def test_the_file_says_what_deployment_needs() -> None:
    model = to_onnx(deploy(residual(projection=False).graph()), METADATA)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 13)]
    assert model.ir_version == 7
    (image,) = model.graph.input
    assert image.name == "input_1:0"
    assert [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim] == ["N", 3, 16, 24]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in out.type.tensor_type.shape.dim] for out in model.graph.output
    ]
    assert shapes == [["N", 8, 8, 12], ["N", 2, 8, 12]]
    assert Metadata.read(model) == METADATA


def test_every_padding_is_explicit_and_no_batch_norm_is_left() -> None:
    model = to_onnx(deploy(residual(projection=True).graph()), METADATA)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds
    assert "Pad" not in kinds
    pads = {
        node.name: onnx.helper.get_node_attr_value(node, "pads")
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    assert pads["stem"] == [1, 1, 1, 1]
    assert pads["output_cov"] == [0, 0, 0, 0]


def test_uff_names_have_no_suffix() -> None:
    model = to_onnx(deploy(residual(projection=False).graph(), "uff"), METADATA)
    assert model.graph.input[0].name == "input_1"
    assert [output.name for output in model.graph.output] == ["output_bbox/BiasAdd", "output_cov/Sigmoid"]
    onnx.checker.check_model(model, full_check=True)


def test_metadata_of_a_strange_file_is_none_and_of_a_damaged_one_an_error() -> None:
    model = to_onnx(deploy(residual(projection=False).graph()), METADATA)
    onnx.helper.set_model_props(model, {"qatkit.classes": '["car"]', "qatkit.stride": "many"})
    with pytest.raises(ModelError, match="damaged"):
        Metadata.read(model)
    del model.metadata_props[:]
    assert Metadata.read(model) is None
