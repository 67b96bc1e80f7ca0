"""Fake quantization computes what INT8 arithmetic will, and its ranges move when and only when they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from qatkit.detectnet.labels import Labels
from qatkit.engine.keras import KerasEngine
from qatkit.errors import DataError, ModelError, UsageError
from qatkit.graph import nodes as n
from qatkit.graph.graph import Graph
from qatkit.keras.fake_quant import ActivationQuantizer, QuantizedKerasGraph, to_fake_quantized
from qatkit.keras.qat import initial_ranges
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from qatkit.quantization.calibration.calibrators import CALIBRATORS
from qatkit.quantization.calibration.collect import measure
from qatkit.quantization.folding import channel_axis, weight_codes
from qatkit.quantization.placement import QuantizationPlan, place
from tests.support.networks import Net, residual
from tests.support.reference import evaluate

DECAY = 0.9


def network(*, frozen: bool = False) -> Graph:
    """Ordinary and depthwise convolution, a residual sum, a max-pool; heads."""
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 8, stride=2)
    depthwise = net.relu("dw_relu", net.add(n.BatchNorm("dw_bn", (net.depthwise("dw", stem),), frozen=frozen)))
    main = net.add(n.BatchNorm("b_bn", (net.conv("b", depthwise, 8, bias=True),), frozen=frozen))
    net.heads(net.max_pool("pool", net.add_relu("sum", main, stem)))
    return net.graph()


def images(count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 16, 24, 3), np.float32)


def quantized(graph: Graph, plan: QuantizationPlan | None = None) -> QuantizedKerasGraph:
    plan = plan or place(graph)
    return to_fake_quantized(
        graph, plan, initial_ranges(graph, plan, [images(seed=seed) for seed in range(3)]), DECAY
    )


def kernel_in_use(built: QuantizedKerasGraph, name: str) -> np.ndarray:
    """The kernel that the layer of convolution `name` multiplies with."""
    wrapper, (shape,) = built.layers[name], built.graph.input_shapes(built.graph[name])
    wrapper(tf.zeros((1, *shape)), training=False)
    layer = wrapper.layer
    return np.asarray(layer.depthwise_kernel if name == "dw" else layer.kernel)


@pytest.mark.parametrize("name", ["stem", "dw", "b"])
def test_kernels_hold_the_codes_that_are_exported(name: str) -> None:
    graph = network()
    axis = channel_axis(graph[name])
    codes, scale = weight_codes(graph.weight(name, "kernel"), axis)
    shape = [-1 if position == axis else 1 for position in range(4)]
    assert_array_equal(kernel_in_use(quantized(graph), name), codes * scale.reshape(shape))


@pytest.mark.parametrize(
    "kernel",
    [
        np.zeros((1, 1, 3, 8)),
        np.full((1, 1, 3, 8), 1e-20),  # amax far below what one would expect, and yet a scale
        np.full((1, 1, 3, 8), 1e-42),  # a scale that float32 cannot hold: codes 0
        np.random.default_rng(0).normal(size=(7, 7, 3, 4096)),  # enough values for float32 rounding to show
        np.arange(-12, 12).reshape(1, 1, 3, 8) / 2,  # ties
    ],
    ids=["zero", "tiny", "too small", "large", "ties"],
)
def test_codes_of_unusual_kernels(kernel: np.ndarray) -> None:
    kernel = kernel.astype(np.float32)
    net = Net(8, 8)
    net.conv("stem", net.input, kernel.shape[3], kernel=kernel.shape[0])
    net.heads("stem")
    graph = net.graph()
    graph = graph.with_weights({**graph.weights, "stem/kernel": kernel})
    plan = QuantizationPlan("tensorrt", (), ("stem",), {})
    codes, scale = weight_codes(kernel)
    assert_array_equal(kernel_in_use(to_fake_quantized(graph, plan, {}), "stem"), codes * scale)


def test_kernels_of_the_heads_stay_float() -> None:
    built = quantized(network())
    for name in ("output_bbox", "output_cov"):
        assert name not in built.plan.weights
        assert_array_equal(built.layers[name].kernel, built.graph.weight(name, "kernel"))


@pytest.mark.parametrize("amax", [1.0, 0.37, 6.0])
def test_activations_follow_the_formula(amax: float) -> None:
    """round(x / scale) * scale with scale = amax / 127, codes -127..127."""
    scale = amax / 127
    codes = np.concatenate([np.arange(-130, 131), [-1e4, 1e4]])
    offsets = np.float64([-0.49, -0.2, 0.0, 0.2, 0.49])
    values = ((codes[:, None] + offsets) * scale).astype(np.float32)
    expected = np.clip(codes, -127, 127)[:, None] * np.ones(5) * scale
    weights = {"min_var": tf.Variable(-amax), "max_var": tf.Variable(amax)}
    found = ActivationQuantizer()(tf.constant(values), training=False, weights=weights)
    assert_allclose(found, expected, rtol=0, atol=2e-6 * amax)


@pytest.mark.parametrize("mode", ["tensorrt", "tao"])
def test_the_network_computes_what_integers_would(mode: str) -> None:
    """Against convolutions of int64 codes; rarely one code flips, where float32 meets the middle of two."""
    graph = network()
    # TAO's places, not its arithmetic.
    plan = replace(place(graph, mode), placement="tensorrt")  # type: ignore[arg-type]
    built = quantized(graph, plan)
    expected = evaluate(graph, images(), built.ranges(), built.plan.weights)
    found = built.model(images(), training=False)
    for name, output in zip(graph.outputs, found):
        error = np.abs(output - expected[name])
        scale = np.abs(expected[name]).max()
        assert np.median(error) < 1e-5 * scale, name
        assert error.max() < 0.02 * scale, name
    plain = evaluate(graph, images())
    assert np.abs(found[0] - plain["output_bbox"]).max() > 1e-3 * np.abs(plain["output_bbox"]).max()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_ranges_start_from_a_calibration(name: str) -> None:
    graph = network()
    plan = place(graph)
    batches = [images(seed=seed) * (seed + 1) / 3 for seed in range(3)]
    found = initial_ranges(graph, plan, batches, name)
    assert tuple(found) == plan.activations
    expected = measure(lambda some: (evaluate(graph, batch) for batch in some), batches, CALIBRATORS[name])
    for tensor, amax in found.items():
        assert amax == pytest.approx(expected[tensor], rel=0.02), tensor
    assert to_fake_quantized(graph, plan, found, DECAY).ranges() == pytest.approx(found)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_the_device_counts_what_numpy_counts(name: str) -> None:
    """The first output is that of the input itself, whose values no device computes: there the ranges are equal."""
    graph = network()
    batches = [images(seed=seed) * 3**seed for seed in range(3)]  # histograms grow
    found = initial_ranges(graph, place(graph), batches, name)
    expected = measure(lambda some: ({"input": batch} for batch in some), batches, CALIBRATORS[name])
    assert found[graph.input.name] == expected["input"]


def test_a_value_that_is_not_finite_is_named() -> None:
    graph = network()
    broken = images()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(ModelError, match=rf"tensor {graph.input.name}: a value is not finite"):
        initial_ranges(graph, place(graph), [images(), broken])


def test_an_unknown_calibrator() -> None:
    with pytest.raises(UsageError, match="no calibrator 'best'"):
        initial_ranges(network(), place(network()), [images()], "best")


def test_ranges_need_images() -> None:
    with pytest.raises(DataError, match="no images"):
        initial_ranges(network(), place(network()), [])


def test_a_dead_tensor_gets_a_range() -> None:
    graph = network()
    dead = graph.with_weights({name: np.zeros_like(array) for name, array in graph.weights.items()})
    ranges = initial_ranges(dead, place(dead), [images()])
    assert all(amax > 0 for amax in ranges.values())
    built = to_fake_quantized(dead, place(dead), ranges)
    assert all(np.isfinite(output).all() for output in built.model(images(), training=True))


def snapshot(built: QuantizedKerasGraph) -> Mapping[str, np.ndarray]:
    return {name: np.array(array) for name, array in built.state().items()}


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert_array_equal(array, expected[name], err_msg=name)


def test_evaluation_never_moves_anything() -> None:
    built = quantized(network())
    before = snapshot(built)
    built.model(5 * images(), training=False)
    built.model(5 * images())
    built.model.predict(5 * images(), verbose=0)
    assert_same(snapshot(built), before)


def chain() -> Graph:
    """A convolution without batch norm, so that training and evaluation compute the same but for the ranges."""
    net = Net()
    net.heads(net.relu("relu", net.conv("conv", net.input, 8, bias=True)))
    return net.graph()


def test_training_moves_ranges_by_their_moving_average() -> None:
    graph = chain()
    built = quantized(graph)
    before, batch = built.ranges(), 3 * images(seed=9)
    built.model(batch, training=True)
    after = built.ranges()
    assert set(after) == {"input_1", "relu"}
    # What a tensor peaks at depends on the rounding before it, which uses the ranges after their update.
    computed = evaluate(graph, batch, {"input_1": after["input_1"]}, ("conv",))
    peaks = {"input_1": batch.max(), "relu": computed["relu"].max()}
    for name, amax in after.items():
        assert amax == pytest.approx(DECAY * before[name] + (1 - DECAY) * peaks[name], rel=1e-5), name
        assert amax != before[name]
    assert [float(low) for low, _ in built.range_variables.values()] == [-amax for amax in after.values()]


def test_training_rounds_with_the_ranges_after_their_update() -> None:
    graph = chain()
    built = quantized(graph)
    found = built.model(3 * images(), training=True)
    again = built.model(3 * images(), training=False)
    assert_array_equal(found[0], again[0])


def test_frozen_batch_norm_keeps_its_statistics_while_its_range_moves() -> None:
    graph = network(frozen=True)
    built = quantized(graph, place(graph, "tao"))
    assert "b_bn" in built.plan.activations
    before = built.ranges()
    built.model(3 * images(), training=True)
    for name in ("dw_bn", "b_bn"):
        for part in ("mean", "variance"):
            assert_array_equal(built.read().weight(name, part), graph.weight(name, part))
    assert all(amax != before[name] for name, amax in built.ranges().items())


def test_gradients_pass_through_rounding() -> None:
    """As if kernel and input were what they were rounded to: the straight-through estimator."""
    graph = chain()
    built = quantized(graph)
    kernel = built.variables["conv/kernel"]
    inside = images() * 0.9  # nothing of the image is clipped
    with tf.GradientTape() as tape:
        bbox, cov = built.model(inside, training=False)
        total = tf.reduce_sum(bbox) + tf.reduce_sum(cov)
    found = tape.gradient(total, [kernel, built.variables["conv/bias"], built.variables["output_bbox/kernel"]])
    assert all(np.abs(gradient).max() > 0 for gradient in found)

    rounded = tf.Variable(kernel_in_use(built, "conv"))
    with tf.GradientTape() as tape:
        image = built.layers["input_1"](inside, training=False)
        y = tf.nn.relu(tf.nn.conv2d(image, rounded, 1, "SAME") + built.variables["conv/bias"])
        bbox, cov = heads(built, straight_through(y, built.ranges()["relu"]))
        total = tf.reduce_sum(bbox) + tf.reduce_sum(cov)
    assert_allclose(found[0], tape.gradient(total, rounded), rtol=1e-3, atol=1e-3)


def test_gradients_use_no_operation_without_a_deterministic_kernel() -> None:
    """TensorFlow's FakeQuantWithMinMaxVarsGradient has none for GPUs: --enable_determinism would end there."""
    built = quantized(chain())

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            bbox, _ = built.model(images(), training=True)
            total = tf.reduce_sum(bbox)
        return tape.gradient(total, [built.variables["conv/kernel"]])

    kinds = {operation.type for operation in gradients.get_concrete_function().graph.get_operations()}
    assert "FakeQuantWithMinMaxVars" in kinds
    assert not {kind for kind in kinds if kind.startswith("FakeQuant")} - {"FakeQuantWithMinMaxVars"}


@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_is_one_within_the_range_and_zero_beyond(training: bool) -> None:
    x = tf.Variable(np.linspace(-3, 3, 25, dtype=np.float32))
    weights = {name: tf.Variable(value, trainable=False) for name, value in (("min_var", -1.0), ("max_var", 1.0))}
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(ActivationQuantizer(0.5)(x, training, weights) * tf.range(25.0))
    amax = 2.0 if training else 1.0  # the range has moved half way from 1 to 3
    assert weights["max_var"].numpy() == amax
    assert_array_equal(tape.gradient(y, x), np.where(np.abs(x.numpy()) <= amax, np.arange(25), 0))


def straight_through(x: tf.Tensor, amax: float) -> tf.Tensor:
    """x rounded to its codes; the gradient is 1 inside the range and 0 beyond it."""
    clipped = tf.clip_by_value(x, -amax, amax)
    return clipped + tf.stop_gradient(tf.round(clipped * 127 / amax) * amax / 127 - clipped)


def heads(built: QuantizedKerasGraph, x: tf.Tensor) -> list[tf.Tensor]:
    logits = [
        tf.nn.conv2d(x, built.variables[f"{name}/kernel"], 1, "SAME") + built.variables[f"{name}/bias"]
        for name in ("output_bbox", "output_cov")
    ]
    return [logits[0], tf.sigmoid(logits[1])]


def test_ranges_survive_the_model_file(tmp_path: Path) -> None:
    built = quantized(network())
    built.model(3 * images(), training=True)
    path = tmp_path / "model.tlt"
    save_model(path, Model(built.read(), Labels(("a", "b")), ranges=built.ranges(), plan=built.plan))
    engine = KerasEngine.from_model(open_model(path))
    assert engine.precision == "int8-qat"
    assert isinstance(engine.network, QuantizedKerasGraph)
    assert engine.network.plan == built.plan
    assert_same(snapshot(engine.network), snapshot(built))
    cov, bbox = engine.predict(images())
    expected = built.model(images(), training=False)
    assert_allclose(bbox, np.transpose(expected[0], (0, 3, 1, 2)), rtol=1e-5, atol=1e-6)
    assert_allclose(cov, np.transpose(expected[1], (0, 3, 1, 2)), rtol=1e-5, atol=1e-6)


def test_state_goes_into_another_model() -> None:
    first = quantized(network())
    first.model(3 * images(), training=True)
    second = to_fake_quantized(network(), first.plan, dict.fromkeys(first.plan.activations, 1.0))
    second.restore(first.state())
    assert_same(snapshot(second), snapshot(first))


def test_a_missing_range() -> None:
    graph = network()
    plan = place(graph)
    ranges = dict.fromkeys(plan.activations[:-1], 1.0)
    with pytest.raises(ModelError, match=f"layer {plan.activations[-1]}: .* holds no range for it"):
        to_fake_quantized(graph, plan, ranges)


@pytest.mark.parametrize(
    "change", [{"activations": ("input_1", "elsewhere")}, {"weights": ("elsewhere",)}, {"weights": ("sum",)}]
)
def test_a_plan_for_another_network(change: dict[str, tuple[str, ...]]) -> None:
    plan = replace(place(network()), **change)
    with pytest.raises(ModelError, match="quantization plan: "):
        to_fake_quantized(network(), plan, dict.fromkeys(plan.activations, 1.0))


def test_an_image_that_only_float_layers_read_is_not_rounded() -> None:
    graph = residual(projection=True).graph()
    plan = place(graph, skip=("stem",))
    assert "input_1" not in plan.activations
    built = to_fake_quantized(graph, plan, initial_ranges(graph, plan, [images()]), DECAY)
    expected = evaluate(graph, images(), built.ranges(), plan.weights)["output_bbox"]
    error = np.abs(built.model(images(), training=False)[0] - expected)
    assert np.median(error) < 1e-5 * np.abs(expected).max()


def test_nothing_quantized_is_the_float_network() -> None:
    graph = network()
    built = to_fake_quantized(graph, QuantizationPlan("tensorrt", (), (), {}), {})
    expected = evaluate(graph, images())["output_bbox"]
    assert_allclose(built.model(images(), training=False)[0], expected, rtol=1e-3, atol=1e-4)
