"""Folding is exact and leaves the INT8 codes alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qatkit.errors import ModelError
from qatkit.graph import nodes as n
from qatkit.graph.graph import Graph
from qatkit.quantization.folding import channel_axis, fold, foldable, snap_biases_to_grid, snap_to_grid, weight_codes
from qatkit.quantization.plan import QuantizationPlan
from tests.support.networks import Net, residual


@pytest.mark.parametrize(
    "column, codes, scale",
    [
        ([127.0, 0.5, 1.5, 2.5, -0.5, -1.5], [127, 0, 2, 2, 0, -2], 1.0),  # half to even
        ([-254.0, 127.0], [-127, 64], 2.0),  # the negative side reaches -127, never -128; 63.5 rounds to 64
        ([0.0, 0.0], [0, 0], 1.0),  # a dead channel
        ([1e-40, 0.0], [0, 0], 1.0),  # a scale that float32 cannot hold
    ],
)
def test_weight_codes_of_one_channel(column: list[float], codes: list[int], scale: float) -> None:
    found, scales = weight_codes(np.array(column, np.float32).reshape(-1, 1))
    assert found.dtype == np.int8
    assert_array_equal(found[:, 0], codes)
    assert_array_equal(scales, np.float32([scale]))


def test_every_output_channel_has_its_own_scale() -> None:
    kernel = np.ones((3, 3, 2, 4), np.float32) * np.float32([1, 2, 3, 4])
    codes, scale = weight_codes(kernel)
    assert_array_equal(codes, np.full(kernel.shape, 127))
    assert_allclose(scale * 127, [1, 2, 3, 4], rtol=1e-7)


def test_a_depthwise_kernel_has_one_scale_per_channel() -> None:
    kernel = np.ones((3, 3, 4, 1), np.float32) * np.float32([1, 2, 3, 4]).reshape(1, 1, 4, 1)
    codes, scale = weight_codes(kernel, channel_axis(n.DepthwiseConv2D("dw", ("x",))))
    assert codes.shape == kernel.shape
    assert_allclose(scale * 127, [1, 2, 3, 4], rtol=1e-7)


def two_kinds(*, bias: bool, seed: int) -> Graph:
    """An ordinary and a depthwise convolution, each with its batch norm."""
    net = Net()
    first = net.bn("a_bn", net.conv("a", net.input, 8, bias=bias))
    net.heads(net.relu("dw_relu", net.bn("dw_bn", net.depthwise("dw", first))))
    return net.graph(seed=seed)


@pytest.mark.parametrize("bias", [False, True])
def test_folding_multiplies_kernel_and_bias(bias: bool) -> None:
    graph = two_kinds(bias=bias, seed=3)
    folded = fold(graph)
    gamma, beta, mean, variance = (graph.weight("a_bn", part).astype(np.float64) for part in n.BatchNorm.parts)
    factor = gamma / np.sqrt(variance + 1e-3)
    assert_allclose(folded.weight("a", "kernel"), graph.weight("a", "kernel") * factor, rtol=1e-6)
    before = graph.weight("a", "bias") if bias else 0
    assert_allclose(folded.weight("a", "bias"), (before - mean) * factor + beta, rtol=1e-5, atol=1e-7)


def test_the_folded_convolution_takes_the_place_of_its_batch_norm() -> None:
    graph = residual(projection=True).graph()
    folded = fold(graph)
    assert [node.name for node in folded.nodes] == [
        *("input_1", "stem", "stem_relu", "a", "a_relu", "b", "shortcut", "sum", "sum_relu"),
        *("output_bbox", "output_cov", "output_cov/Sigmoid"),
    ]
    assert folded["sum"].inputs == ("b", "shortcut")
    assert folded.outputs == graph.outputs
    assert foldable(graph) == {"stem": "stem_bn", "a": "a_bn", "b": "b_bn", "shortcut": "shortcut_bn"}
    assert foldable(folded) == {}
    assert not [name for name in folded.weights if "_bn" in name]


def test_a_batch_norm_that_is_an_output_leaves_its_convolution_as_the_output() -> None:
    net = Net()
    assert fold(net.graph(net.conv_bn("a", net.input, 2))).outputs == ("a",)


@pytest.mark.parametrize("kind", ["no convolution before it", "convolution read twice"])
def test_a_batch_norm_that_cannot_be_folded_stays(kind: str) -> None:
    net = Net()
    source = net.conv("a", net.input, 4)
    norm = net.bn("norm", net.relu("relu", source) if kind == "no convolution before it" else source)
    net.heads(net.add_relu("sum", norm, source))
    assert "norm" in fold(net.graph())


def test_statistics_that_give_no_finite_weights_are_refused() -> None:
    graph = two_kinds(bias=False, seed=0)
    broken = graph.with_weights({**graph.weights, "a_bn/gamma": np.full(8, np.nan, np.float32)})
    with pytest.raises(ModelError, match="a_bn"):
        fold(broken)


@given(seed=st.integers(0, 2**31), bias=st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_codes_are_the_same_before_and_after_folding(seed: int, bias: bool) -> None:
    graph = two_kinds(bias=bias, seed=seed)
    folded = fold(snap_to_grid(graph, ("a", "dw")))
    for name, norm in (("a", "a_bn"), ("dw", "dw_bn")):
        axis = channel_axis(graph[name])
        codes, scale = weight_codes(graph.weight(name, "kernel"), axis)
        folded_codes, folded_scale = weight_codes(folded.weight(name, "kernel"), axis)
        factor = graph.weight(norm, "gamma") / np.sqrt(graph.weight(norm, "variance").astype(np.float64) + 1e-3)
        signs = np.sign(factor).reshape((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
        assert_array_equal(folded_codes, codes * signs)
        assert_allclose(folded_scale, scale * np.abs(factor), rtol=1e-6)


def test_a_channel_that_batch_norm_switches_off_has_codes_zero() -> None:
    graph = two_kinds(bias=False, seed=0)
    gamma = graph.weight("a_bn", "gamma").copy()
    gamma[2] = 0
    folded = fold(graph.with_weights({**graph.weights, "a_bn/gamma": gamma}))
    codes, scale = weight_codes(folded.weight("a", "kernel"))
    assert not codes[..., 2].any()
    assert scale[2] == 1


def test_a_kernel_on_the_grid_stays_there_and_off_it_moves_by_half_a_step_at_most() -> None:
    graph = two_kinds(bias=False, seed=5)
    once = snap_to_grid(graph, ("a",))
    scale = weight_codes(graph.weight("a", "kernel"))[1]
    moved = np.abs(once.weight("a", "kernel") - graph.weight("a", "kernel"))
    assert (moved <= 0.5001 * scale).all()
    assert moved.max() > 0
    assert_array_equal(snap_to_grid(once, ("a",)).weight("a", "kernel"), once.weight("a", "kernel"))
    assert_array_equal(once.weight("dw", "kernel"), graph.weight("dw", "kernel"))


@pytest.mark.parametrize("bias", [True, False])
def test_biases_become_whole_units_of_the_integer_sums(bias: bool) -> None:
    graph = two_kinds(bias=bias, seed=3)
    kernels = tuple(node.name for node in graph.nodes if isinstance(node, n.CONVOLUTIONS))
    ranges = {graph[name].inputs[0]: 2.0 for name in kernels}
    plan = QuantizationPlan("tensorrt", tuple(ranges), kernels, {})
    before, after = fold(graph), fold(snap_biases_to_grid(graph, plan, ranges))
    for name in kernels:
        kernel = after.weight(name, "kernel")
        unit = weight_codes(kernel, channel_axis(graph[name]))[1] * 2.0 / 127
        units = after.weight(name, "bias") / unit
        np.testing.assert_allclose(units, np.rint(units), atol=0.02)
        assert np.abs(after.weight(name, "bias") - before.weight(name, "bias")).max() <= 0.51 * unit.max()
        np.testing.assert_array_equal(kernel, before.weight(name, "kernel"))
