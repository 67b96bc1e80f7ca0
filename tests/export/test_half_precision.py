"""Networks in float16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from qatkit.errors import ModelError
from qatkit.export.deployed import deploy
from qatkit.export.half_precision import to_float16
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import to_onnx
from tests.support import blocks
from tests.support.exported import METADATA
from tests.support.networks import Net


@pytest.mark.parametrize(
    "network",
    [blocks.relu6, blocks.leaky, blocks.linear_depthwise, blocks.bottleneck],
    ids=lambda f: f.__name__,
)
def test_weights_and_operations_are_half_and_the_outside_is_not(network: Callable[[], Net]) -> None:
    model = to_onnx(deploy(network().graph()), METADATA)
    before = model.SerializeToString()
    half = to_float16(model)
    assert model.SerializeToString() == before
    assert {item.data_type for item in half.graph.initializer} == {TensorProto.FLOAT16}
    outside = [*half.graph.input, *half.graph.output]
    assert [item.name for item in outside] == [item.name for item in (*model.graph.input, *model.graph.output)]
    assert {item.type.tensor_type.elem_type for item in outside} == {TensorProto.FLOAT}
    assert Metadata.read(half) == METADATA
    images = np.random.default_rng(0).random((2, 3, 16, 24), np.float32)
    for expected, found in zip(run(model, images), run(half, images)):
        # Ten bits of mantissa: 2**-11 for each rounding, a few roundings one after the other.
        assert 0 < np.abs(expected - found).max() <= 2**-9 * np.abs(expected).max()


def run(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {"input_1:0": images})
    return outputs


def test_a_network_that_makes_no_sense_is_a_model_error() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 4, 4]) for name in "xy"]
    body = helper.make_graph([helper.make_node("Relu", ["nowhere"], ["y"])], "broken", values[:1], values[1:])
    with pytest.raises(ModelError, match="cannot be written in float16"):
        to_float16(helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)]))
