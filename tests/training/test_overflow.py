from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.keras.fake_quant import to_fake_quantized
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.step import StepResult
from qatkit.quantization.placement import place
from qatkit.training.overflow import FiniteNetwork, broken_costs, why_the_loss, why_the_network
from tests.support.networks import Net

CLASSES = ("person", "bag")
NAN, INF = math.nan, math.inf


def result(*components: tuple[float, float], loss: float = NAN) -> StepResult:
    return StepResult(loss, np.float32(components))


@pytest.mark.parametrize(
    "components, told",
    [
        ([(1, 2), (3, 4)], []),
        ([(1, INF), (3, 4)], ["the bbox cost of person is inf"]),
        ([(1, 2), (NAN, -INF)], ["the cov cost of bag is nan", "the bbox cost of bag is -inf"]),
    ],
)
def test_parts_of_the_loss(components: list[tuple[float, float]], told: list[str]) -> None:
    assert broken_costs(result(*components), CLASSES) == told


def held(**broken: float) -> Mapping[str, NDArray[np.float32]]:
    """Two layers, a range and an average, in the order of a network's state; some of the arrays broken."""
    names = {
        "first_kernel": "model/first/kernel",
        "first_gamma": "model/bn/gamma",
        "first_variance": "model/bn/moving_variance",
        "second_kernel": "model/second/kernel",
        "second_bias": "model/second/bias",
        "range": "range/relu",
        "average": "average/relu/biased",
    }
    return {name: np.float32([0.5, broken.get(key, 2.0)]) for key, name in names.items()}


ALL_TRAINED = {"first_kernel": NAN, "first_gamma": NAN, "second_kernel": NAN, "second_bias": NAN}


@pytest.mark.parametrize(
    "components, broken, told",
    [
        ([(1, NAN), (3, 4)], ALL_TRAINED, "the bbox cost of person is nan"),
        (
            [(1, NAN), (3, 4)],
            {**ALL_TRAINED, "first_variance": INF, "range": NAN},
            "the bbox cost of person is nan; on the way forward bn/moving_variance overflowed first",
        ),
        (
            [(1, NAN), (3, 4)],
            {**ALL_TRAINED, "range": NAN},
            "the bbox cost of person is nan; on the way forward range/relu overflowed first",
        ),
        (
            [(NAN, NAN), (NAN, NAN)],
            ALL_TRAINED,
            "the cov cost of person is nan, the bbox cost of person is nan, the cov cost of bag is nan and 1 more",
        ),
        (
            [(1, 2), (3, 4)],
            {"second_kernel": 1e30},
            "all costs are numbers, so regularization overflowed; second/kernel has the largest weights",
        ),
    ],
)
def test_why_a_loss_is_no_number(components: list[tuple[float, float]], broken: dict[str, float], told: str) -> None:
    assert why_the_loss(result(*components), CLASSES, held(**broken)) == told


@pytest.mark.parametrize(
    "broken, told",
    [
        ({"first_variance": INF}, "bn/moving_variance is not finite"),
        ({"first_kernel": NAN, "first_variance": INF}, "bn/moving_variance is not finite"),
        # Of the gradients, which come from the outputs, that of the last layer was the first.
        ({"first_kernel": NAN}, "first/kernel is not finite, its gradient overflowed first"),
        ({"first_kernel": NAN, "second_kernel": INF}, "second/kernel is not finite, its gradient overflowed first"),
        ({"range": INF}, "range/relu is not finite"),
        ({"average": NAN}, "average/relu/biased is not finite"),
        ({}, "a weight is not finite on another device"),
    ],
)
def test_why_a_network_holds_no_numbers(broken: dict[str, float], told: str) -> None:
    assert why_the_network(held(**broken)) == told


def network(kind: str) -> KerasGraph:
    net = Net(16, 16)
    net.heads(net.conv_bn_relu("conv", net.input, 4, stride=4))
    graph = net.graph()
    if kind != "qat":
        return to_keras(graph, policy=kind)
    plan = place(graph, "tao")
    return to_fake_quantized(graph, plan, dict.fromkeys(plan.activations, 1.0))


@pytest.mark.parametrize("kind", ["float32", "mixed_bfloat16", "qat"])
@pytest.mark.parametrize("strategy", [tf.distribute.get_strategy, lambda: tf.distribute.MirroredStrategy(["CPU:0"])])
def test_every_tensor_is_watched(kind: str, strategy: Callable[[], tf.distribute.Strategy]) -> None:
    used = strategy()
    with used.scope():
        built = network(kind)
        watch = FiniteNetwork(built, used)
    assert watch()
    state = built.state()
    for name, array in state.items():
        if not array.size:
            continue
        broken = np.array(array)
        broken.reshape(-1)[-1] = NAN
        built.restore({**state, name: broken})
        assert not watch(), name
        assert why_the_network(built.state()).startswith(name.removeprefix("model/"))
        built.restore(state)
        assert watch()
