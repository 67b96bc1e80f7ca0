"""TAO's fake quantization: formulas, gradients, moving averages and whole networks of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from qatkit.graph import nodes as n
from qatkit.graph.builder import same_padding
from qatkit.graph.graph import Graph
from qatkit.keras.fake_quant import QuantizedKerasGraph, to_fake_quantized
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.tao_quant import TaoActivationQuantizer, quantize_activation, quantize_kernel
from qatkit.model.keras_config import read_network
from qatkit.quantization.placement import QuantizationPlan, place
from tests.support import golden_data
from tests.support.networks import residual
from tests.support.one_code import one_code
from tests.support.pruning_models import with_weights

TOPIC = "09_qat"


def with_gradient(function: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """function(x), and the gradient of its sum."""
    source = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(source)
        y = function(source)
        total = tf.reduce_sum(y)
    return y.numpy(), tape.gradient(total, source).numpy()


@pytest.mark.parametrize(
    "x, code",
    [(0.0, 0), (0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (127.0, 127), (200.0, 127), (-200.0, -128)],
)
def test_activation_codes_by_hand(x: float, code: int) -> None:
    assert float(quantize_activation(tf.constant(x), 127.0)) == code


def test_a_range_of_zero_gives_zeros() -> None:
    assert_allclose(quantize_activation(tf.constant([-1.0, 0.0, 1.0]), 0.0), np.zeros(3), atol=1e-11)


@pytest.mark.parametrize(
    "kernel, expected",
    [
        ([0.0, 0.0], [0.0, 0.0]),
        ([127.0, 0.4, 0.6], [127.0, 0.0, 1.0]),
        # The negative side is the larger one: it goes to -128.
        ([-128.0, 0.4, 127.0], [-128.0, 0.0, 127.0]),
        ([-64.0, 0.2, 0.3], [-64.0, 0.0, 0.5]),
        ([-1.0, -1.0], [-1.0, -1.0]),
    ],
)
def test_kernels_by_hand(kernel: list[float], expected: list[float]) -> None:
    assert_array_equal(quantize_kernel(tf.constant(kernel)), np.float32(expected))


@golden_data.parametrize(TOPIC, "qdq_")
def test_activations_are_those_of_the_original(case: dict[str, Any]) -> None:
    amax = case["scaling_factor"]
    x = golden_data.array(TOPIC, case, "x")
    y, gradient = with_gradient(lambda x: quantize_activation(x, amax, case["bitwidth"]), x)
    assert_allclose(y, golden_data.array(TOPIC, case, "y"), rtol=0, atol=1e-6 * amax)
    assert_array_equal(gradient, golden_data.array(TOPIC, case, "grad_x"))


@golden_data.parametrize(TOPIC, "weights_")
def test_kernels_are_those_of_the_original(case: dict[str, Any]) -> None:
    kernel = golden_data.array(TOPIC, case, "w")
    found, gradient = with_gradient(quantize_kernel, kernel)
    tolerance = 1e-6 * np.abs(kernel).max()
    assert_allclose(found, golden_data.array(TOPIC, case, "w_quant"), rtol=0, atol=tolerance)
    assert_array_equal(gradient, golden_data.array(TOPIC, case, "grad_w"))


@golden_data.parametrize(TOPIC, "conv_")
def test_convolutions_are_those_of_the_original(case: dict[str, Any]) -> None:
    x, kernel, bias = (golden_data.array(TOPIC, case, name) for name in ("x", "kernel", "bias"))
    assert case["data_format"] == "channels_first"
    images = x.transpose(0, 2, 3, 1)
    graph = convolution(case, images.shape[1:], kernel, bias)
    plain = to_keras(graph).model(images, training=False)
    ranges = {"input_1": case["input_scaling_factor"]} if case["quantize_input"] else {}
    plan = QuantizationPlan("tao", tuple(ranges), ("conv",), {})
    quantized = to_fake_quantized(graph, plan, ranges).model(images, training=False)
    for found, name in ((plain, "y_float"), (quantized, "y_quantized")):
        expected = golden_data.array(TOPIC, case, name).transpose(0, 2, 3, 1)
        assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name)


def convolution(case: dict[str, Any], shape: Any, kernel: np.ndarray, bias: np.ndarray) -> Graph:
    """One convolution; TAO pads ordinary ones alike on both sides, depthwise ones as TensorFlow does."""
    size, stride, rate = case["kernel_size"], case["stride"], case["dilation"]
    padding: n.Padding = (0, 0, 0, 0)
    if case["padding"] == "same":
        padding = same_padding(size, rate) if case["op"] == "conv2d" else tensorflow_padding(shape, size, stride)
    window = {"kernel_size": (size, size), "strides": (stride, stride), "padding": padding, "dilation": (rate, rate)}
    conv: n.Node
    if case["op"] == "conv2d":
        conv = n.Conv2D("conv", ("input_1",), **window, filters=len(bias))
    else:
        conv = n.DepthwiseConv2D("conv", ("input_1",), **window, use_bias=True)
    weights = {"conv/kernel": kernel, "conv/bias": bias}
    return Graph("conv", (n.Input("input_1", (), shape=tuple(shape)), conv), weights, ("conv",))


def tensorflow_padding(shape: Any, size: int, stride: int) -> n.Padding:
    height, width = (max((-(-extent // stride) - 1) * stride + size - extent, 0) for extent in shape[:2])
    return height // 2, width // 2, height - height // 2, width - width // 2


def identity(amax: float, decay: float = 0.999) -> QuantizedKerasGraph:
    """A network that does nothing but quantize its input; images of one pixel row."""
    image = n.Input("input_1", (), shape=(1, 64, 1))
    graph = Graph("ranges", (image, n.Concat("same", ("input_1",))), {}, ("same",))
    return to_fake_quantized(graph, QuantizationPlan("tao", ("input_1",), (), {}), {"input_1": amax}, decay)


@golden_data.parametrize(TOPIC, "ema_")
def test_ranges_are_those_of_the_original(case: dict[str, Any]) -> None:
    network = identity(case["initial_scaling_factor"])
    factors = golden_data.array(TOPIC, case, "scaling_factor_after_step")
    steps = zip(golden_data.array(TOPIC, case, "x"), golden_data.array(TOPIC, case, "y"), factors)
    for x, expected, factor in steps:
        y = network.model(x.reshape(1, 1, -1, 1), training=True)
        assert network.ranges()["input_1"] == pytest.approx(factor, rel=5e-5)
        # A range that differs in its last digits moves values a little, and a tie by one code.
        error = np.abs(np.ravel(y) - expected)
        assert np.median(error) <= 5e-5 * factor
        assert error.max() <= 1.01 * factor / 127


def test_the_first_batch_sets_the_range_whatever_it_was() -> None:
    network = identity(6.0)
    network.model(tf.fill((1, 1, 64, 1), -2.5), training=True)
    assert network.ranges()["input_1"] == pytest.approx(2.5, rel=1e-6)
    network.model(tf.fill((1, 1, 64, 1), 1.5), training=True)
    assert network.ranges()["input_1"] == pytest.approx((0.999 * 2.5 + 1.5) / 1.999, rel=1e-5)


def test_without_memory_the_range_is_that_of_the_batch() -> None:
    network = identity(6.0, decay=0.0)
    for peak in (1.0, 3.0):
        network.model(tf.fill((1, 1, 64, 1), peak), training=True)
        assert network.ranges()["input_1"] == peak


def test_a_restored_average_goes_on_where_it_was() -> None:
    straight, stopped, resumed = identity(6.0), identity(6.0), identity(6.0)
    for network in (straight, stopped):
        network.model(tf.fill((1, 1, 64, 1), 4.0), training=True)
    resumed.restore(stopped.state())
    for network in (straight, resumed):
        network.model(tf.fill((1, 1, 64, 1), 1.0), training=True)
    assert resumed.ranges() == straight.ranges() == pytest.approx({"input_1": 2.5}, rel=1e-3)


def test_evaluation_moves_no_range() -> None:
    network = identity(6.0)
    before = network.state()
    network.model(tf.fill((1, 1, 64, 1), 4.0), training=False)
    assert network.state() == before


def test_the_placement_of_tao_quantizes_as_tao_does() -> None:
    graph = residual(projection=True).graph()
    plan = place(graph, "tao")
    network = to_fake_quantized(graph, plan, dict.fromkeys(plan.activations, 4.0))
    wrapper = network.layers["a"]
    wrapper(tf.zeros((1, *graph.input_shapes(graph["a"])[0])), training=False)
    assert_array_equal(wrapper.layer.kernel, quantize_kernel(tf.constant(graph.weight("a", "kernel"))))
    assert isinstance(network.layers["a_relu"]._output_quantizers[0], TaoActivationQuantizer)
    assert set(network.averages) == {
        f"average/{name}/{part}" for name in plan.activations for part in ("biased", "steps")
    }


def described(case: dict[str, Any], layers: str) -> dict[str, Any]:
    """A Keras description of the network that a case lists."""
    entries = [
        {
            "class_name": layer["type"],
            "name": layer["name"],
            "config": {"center": True, "scale": True, **layer["config"]},
            "inbound_nodes": [[[source, 0, 0, {}] for source in layer["inbound"]]] if layer["inbound"] else [],
        }
        for layer in case[layers]
    ]
    read = {source for layer in case[layers] for source in layer["inbound"]}
    outputs = [[layer["name"], 0, 0] for layer in case[layers] if layer["name"] not in read]
    return {
        "class_name": "Model",
        "config": {"name": "network", "layers": entries, "output_layers": outputs},
    }


# Relative errors of weights, from the last bit on: what summing in another order does to a result.
ROUNDINGS = (6e-8, 2e-7, 6e-7)
DRAWS = 30


@dataclass(frozen=True)
class Network:
    """A case's network before ("fp32") or after the QAT conversion ("qat"), and the images it is asked about."""

    keras: KerasGraph
    ranges: dict[str, float]
    images: np.ndarray

    @cached_property
    def outputs(self) -> Callable[[], list[tf.Tensor]]:
        return tf.function(lambda: self.keras.model(self.images, training=False))

    def draws(self) -> Iterator[list[np.ndarray]]:
        """The outputs [B, h, w, c], then those with weights that differ in their last digits, DRAWS times."""
        yield [output.numpy() for output in self.outputs()]
        weights = [one for one in self.keras.model.variables if one.shape.rank and one.dtype == tf.float32]
        values = [variable.numpy() for variable in weights]
        try:
            for draw in range(DRAWS):
                rng = np.random.default_rng(draw)
                for variable, value in zip(weights, values):
                    error = ROUNDINGS[draw % len(ROUNDINGS)] * rng.standard_normal(value.shape)
                    variable.assign((value * (1 + error)).astype(np.float32))
                yield [output.numpy() for output in self.outputs()]
        finally:
            for variable, value in zip(weights, values):
                variable.assign(value)


def network(case: dict[str, Any], kind: str, images: np.ndarray) -> Network:
    found = read_network(described(case, "layers_after" if kind == "qat" else "layers_before"))
    graph = with_weights(found.name, found.nodes, found.outputs, case["weight_seed"], case["weight_spread"])
    images = images.transpose(nhwc(case))
    if kind == "fp32":
        return Network(to_keras(graph), {}, images)
    ranges = {found.qdq[layer]: amax for layer, amax in case["qdq_scaling_factors"].items()}
    plan = QuantizationPlan("tao", tuple(ranges), found.quantized_kernels, {})
    return Network(to_fake_quantized(graph, plan, ranges), ranges, images)


def nhwc(case: dict[str, Any]) -> tuple[int, ...]:
    """How the arrays of a case are transposed."""
    formats = {layer["config"].get("data_format", "channels_first") for layer in case["layers_before"]}
    return (0, 1, 2, 3) if "channels_last" in formats else (0, 2, 3, 1)


@dataclass(frozen=True)
class Expected:
    """What the original computed: outputs [B, h, w, c], and what errors of each are measured by.

    A coverage near 0 is measured like any other: the original's sigmoid is exact to 1e-7, not to all of its digits.
    Boxes are measured by the largest; where all of them are next to nothing, by 20 times what a flipped code makes.
    """

    outputs: list[np.ndarray]
    magnitudes: list[float]

    @classmethod
    def of(cls, outputs: list[np.ndarray], graph: Graph, ranges: dict[str, float]) -> Expected:
        magnitudes = [
            1.0
            if isinstance(graph[name], n.Sigmoid)
            else max(np.abs(values).max(), 20 * one_code(graph, ranges, name))
            for name, values in zip(graph.outputs, outputs)
        ]
        return cls(outputs, magnitudes)

    def errors(self, found: list[np.ndarray]) -> list[np.ndarray]:
        """Of each output, relative to its magnitude."""
        return [np.abs(one - two) / most for one, two, most in zip(found, self.outputs, self.magnitudes)]

    def is_rounded_alike(self, draws: Iterator[list[np.ndarray]]) -> bool:
        """Whether a quantized network computes this with one way of rounding its sums or another.

        A sum in another order puts a value, now and then, on the other side of the middle between two codes. Where
        that shows in a few outputs, it may. But a deep network of random weights may then answer an image differently
        altogether: in 4 of 14 of them the last bit of the weights moved 8 to 92 % of the outputs by more than 1e-3,
        and some by a third of the largest. A tolerance for that would let a wrong range pass. But the same flips give
        the same outputs: so some way of rounding must give each image, and closely.
        """
        missing = set(range(len(self.outputs[0])))
        for found in draws:
            errors = self.errors(found)
            missing -= {image for image in missing if all(_few_codes_flipped(error[image]) for error in errors)}
            if not missing:
                return True
        return False

    def is_computed_alike(self, draws: Iterator[list[np.ndarray]]) -> bool:
        """Whether a float network computes this: to 1e-4, apart from what rounding does to an output.

        Logits reach 1e7 here; the last digits of a sum of such numbers decide on the coverage where they cancel out.
        """
        first = next(draws)
        errors = self.errors(first)
        if all(error.max() < 1e-4 for error in errors):
            return True
        spread = [np.ptp(values, axis=0) for values in zip(first, *islice(draws, 2 * len(ROUNDINGS)))]
        limits = [1e-4 + 4 * moved / most for moved, most in zip(spread, self.magnitudes)]
        return all(bool((error < limit).all()) for error, limit in zip(errors, limits))


def _few_codes_flipped(error: np.ndarray) -> bool:
    return bool(np.mean(error > 1e-3) < 0.01 and error.max() < 5e-2)


def golden_network(case: dict[str, Any], kind: str) -> tuple[Network, Expected]:
    found = network(case, kind, golden_data.array(TOPIC, case, "x"))
    graph = found.keras.graph
    outputs = [golden_data.array(TOPIC, case, f"out_{kind}_{index}") for index in range(len(graph.outputs))]
    return found, Expected.of([output.transpose(nhwc(case)) for output in outputs], graph, found.ranges)


@golden_data.parametrize(TOPIC, "network_", needs="x")
def test_networks_compute_what_the_original_computes(case: dict[str, Any]) -> None:
    found, expected = golden_network(case, "fp32")
    assert expected.is_computed_alike(found.draws())


@golden_data.parametrize(TOPIC, "network_", needs="x")
def test_quantized_networks_compute_what_the_original_computes(case: dict[str, Any]) -> None:
    """And do not with a range that is 5 % off, a middle or the last one, however the sums are rounded."""
    found, expected = golden_network(case, "qat")
    assert expected.is_rounded_alike(found.draws())
    assert isinstance(found.keras, QuantizedKerasGraph)
    names = list(found.ranges)
    for name in (names[len(names) // 2], names[-1]):
        found.keras.set_ranges(found.ranges | {name: 1.05 * found.ranges[name]})
        assert not expected.is_rounded_alike(found.draws()), name
