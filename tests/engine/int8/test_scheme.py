"""What runs in INT8: the same from a calibration cache and from Q/DQ nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from onnx import numpy_helper

from qatkit.engine.int8.graph import parse
from qatkit.engine.int8.scheme import from_cache, from_qdq, has_qdq
from qatkit.errors import ModelError
from qatkit.quantization.folding import weight_codes
from tests.support.exported import NETWORKS, exported
from tests.support.networks import residual


@pytest.mark.parametrize("name", NETWORKS)
def test_cache_and_qdq_give_the_same_scheme(name: str) -> None:
    export = exported(NETWORKS[name]())
    explicit, implicit = export.explicit(), export.implicit()
    assert {key: block.end for key, block in explicit.blocks.items()} == {
        key: block.end for key, block in implicit.blocks.items()
    }
    assert explicit.floating == implicit.floating
    assert explicit.scales == pytest.approx(implicit.scales, rel=1e-7)
    assert explicit.kernels.keys() == implicit.kernels.keys()
    for key, kernel in explicit.kernels.items():
        assert_array_equal(kernel.codes, implicit.kernels[key].codes)
        assert_array_equal(kernel.scale, implicit.kernels[key].scale)


def test_every_convolution_but_the_heads_is_int8_and_the_sum_rides_on_the_deeper_branch() -> None:
    scheme = exported(residual(projection=True)).implicit()
    ends = {block.conv.output.split("_bn")[0]: block.end for block in scheme.blocks.values()}
    assert ends == {
        "stem": "stem_relu/Relu:0",
        "a": "a_relu/Relu:0",
        "b": "sum_relu/Relu:0",
        "shortcut": "shortcut_bn/batchnorm/add_1:0",
    }
    assert scheme.blocks["b_bn/batchnorm/add_1:0"].addend == "shortcut_bn/batchnorm/add_1:0"
    assert scheme.floating == {
        "output_bbox/BiasAdd:0": "its output has no scale",
        "output_cov/BiasAdd:0": "its output has no scale",
    }


def complete() -> Any:
    """The projection network with a scale for every tensor, as a cache of TensorRT itself has."""
    export = exported(residual(projection=True))
    return export, export.implicit({name: 3.0 for name in export.deployed.tensors.values()})


def test_a_complete_cache_rounds_nothing_inside_fused_kernels() -> None:
    export, scheme = complete()
    assert scheme.scales.keys() == export.implicit().scales.keys()
    assert scheme.blocks == export.implicit().blocks


def test_a_complete_cache_gives_the_heads_int8_kernels_with_float_results() -> None:
    export, scheme = complete()
    assert scheme.floating == {
        "output_bbox/BiasAdd:0": "INT8 kernel, float result",
        "output_cov/BiasAdd:0": "INT8 kernel, float result",
    }
    codes, scale = weight_codes(export.graph.weight("output_bbox", "kernel"))
    kernel = scheme.kernels["output_bbox/BiasAdd:0"]
    assert_array_equal(kernel.codes, codes.transpose(3, 2, 0, 1))
    assert_array_equal(kernel.scale, scale)


def test_kernels_are_quantized_by_the_largest_weight_of_each_output_channel() -> None:
    export = exported(residual(projection=True))
    (name,) = (key for key in export.implicit().kernels if key.startswith("stem"))
    weights = {item.name: numpy_helper.to_array(item) for item in export.clean.graph.initializer}["stem/kernel:0"]
    scale = np.abs(weights).max(axis=(1, 2, 3)) / np.float32(127)
    kernel = export.implicit().kernels[name]
    np.testing.assert_allclose(kernel.scale, scale, rtol=1e-6)
    assert_array_equal(np.abs(kernel.codes).max(axis=(1, 2, 3)), 127)
    np.testing.assert_allclose(kernel.values, weights, atol=scale.max() / 2 * 1.001)


@pytest.mark.parametrize(
    "missing, floating",
    [
        ("input_1:0", {"stem_bn/batchnorm/add_1:0": "its input input_1:0 has no scale"}),
        (
            "a_relu/Relu:0",
            {
                "a_bn/batchnorm/add_1:0": "its output has no scale",
                "b_bn/batchnorm/add_1:0": "its input a_relu/Relu:0 has no scale",
            },
        ),
    ],
)
def test_a_missing_scale_makes_a_convolution_float(missing: str, floating: dict[str, str]) -> None:
    export = exported(residual(projection=True))
    scales = {name: amax / 127 for name, amax in export.tensor_ranges().items() if name != missing}
    found = dict(from_cache(parse(export.clean), scales).floating)
    assert {key: reason for key, reason in found.items() if not key.startswith("output")} == floating


def test_a_sum_whose_other_input_has_no_scale_is_not_fused() -> None:
    """Then the branch has to have a scale of its own, or it is float."""
    export = exported(residual(projection=True))
    scales = {name: amax / 127 for name, amax in export.tensor_ranges().items() if not name.startswith("shortcut")}
    scheme = from_cache(parse(export.clean), scales)
    assert scheme.floating["b_bn/batchnorm/add_1:0"] == "its output has no scale"
    scheme = from_cache(parse(export.clean), scales | {"b_bn/batchnorm/add_1:0": 0.02})
    assert scheme.blocks["b_bn/batchnorm/add_1:0"].end == "b_bn/batchnorm/add_1:0"


@pytest.mark.parametrize("scales", [{}, {"conv1": 0.1}, {"input_1:0": 0.0}])
def test_a_cache_without_a_tensor_of_the_network_is_refused(scales: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="names no tensor of this ONNX"):
        from_cache(parse(exported(residual(projection=False)).clean), scales)


def test_explicit_rounding_on_both_inputs_of_a_sum_is_obeyed() -> None:
    """TAO's placement: what TensorRT would fuse implicitly is rounded where the file says so."""
    scheme = exported(residual(projection=True), "tao").explicit()
    ends = {block.conv.output.split("_bn")[0]: block.end for block in scheme.blocks.values()}
    assert ends["b"] == "b_bn/batchnorm/add_1:0"
    assert "sum/add:0" in scheme.scales


def test_a_float_file_has_no_qdq() -> None:
    export = exported(residual(projection=False))
    assert not has_qdq(parse(export.clean))
    assert has_qdq(parse(export.qdq))


def uint8_codes(model: onnx.ModelProto) -> None:
    for item in model.graph.initializer:
        if item.name == "input_1:0_zero_point":
            item.CopyFrom(numpy_helper.from_array(np.uint8(0), item.name))


def shifted_zero_point(model: onnx.ModelProto) -> None:
    for item in model.graph.initializer:
        if item.name == "a_relu/Relu:0_zero_point":
            item.CopyFrom(numpy_helper.from_array(np.int8(3), item.name))


def float_reader(model: onnx.ModelProto) -> None:
    (head,) = (node for node in model.graph.node if node.name == "output_cov")
    head.input[0] = "sum_relu/Relu:0"


def second_scale(model: onnx.ModelProto) -> None:
    node = next(item for item in model.graph.node if item.name == "a_relu/Relu:0_dequantize")
    node.input[1] = "sum_relu/Relu:0_scale"


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan"), float("inf"), 1e-40])
@pytest.mark.parametrize("tensor", ["a_relu/Relu:0", "a/kernel:0"])
def test_qdq_with_a_scale_that_makes_no_sense_is_refused(tensor: str, scale: float) -> None:
    model = exported(residual(projection=False)).qdq
    (item,) = (item for item in model.graph.initializer if item.name == f"{tensor}_scale")
    values = numpy_helper.to_array(item).copy()
    values[... if values.ndim == 0 else 0] = scale
    item.CopyFrom(numpy_helper.from_array(values, item.name))
    with pytest.raises(ModelError, match=rf"{tensor}.*: its scale {scale:.3g} makes no sense"):
        from_qdq(parse(model))


@pytest.mark.parametrize(
    "damage, message",
    [
        (uint8_codes, "input_1:0: not as TensorRT wants it"),
        (shifted_zero_point, "a_relu/Relu:0: not as TensorRT wants it"),
        (float_reader, "sum_relu/Relu:0: read both quantized and in float"),
        (second_scale, "a_relu/Relu:0: quantized with several scales"),
    ],
)
def test_qdq_of_another_form_is_refused(damage: Any, message: str) -> None:
    model = exported(residual(projection=False)).qdq
    damage(model)
    with pytest.raises(ModelError, match=message):
        from_qdq(parse(model))
