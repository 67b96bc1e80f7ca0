"""A small detector with everything that a training step needs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from qatkit.detectnet.grid import Grid
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import BatchNorm
from qatkit.keras.cost import CostConfig
from qatkit.keras.loss_mask import LossMask
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.rasterizer import CoverageShape, Rasterizer
from qatkit.keras.step import Stepper, Teacher
from qatkit.spec import TrainingConfig
from tests.support.networks import Net

HEIGHT, WIDTH, CLASSES = 16, 24, 2
COST = CostConfig(
    class_weights=np.float32([0.75, 0.25]),
    foreground_weights=np.float32([0.5, 0.5]),
    initial_weights=np.float32([[0.5, 0.5], [0.2, 0.8]]),
    weight_targets=np.ones((2, 2), np.float32),
    autoweighting=False,
    minimum_weight=1e-4,
    maximum_weight=0.9999,
)
# With these an update is -rate / EPSILON times the gradient, as long as gradients are far below EPSILON.
EPSILON = 1e6
PLAIN_DESCENT = {"adam": {"epsilon": EPSILON, "beta1": 0.0, "beta2": 0.0}}
ADAM = {"adam": {"epsilon": 1e-8, "beta1": 0.9, "beta2": 0.999}}


def detector(*, norms: bool = True, frozen: bool = False, seed: int = 0) -> Graph:
    """conv, depthwise conv, their batch norms if any, ReLUs, and heads at stride 4."""
    net = Net(HEIGHT, WIDTH)
    x = net.conv("a", net.input, 8, stride=2, bias=True)
    x = net.add(BatchNorm("a_bn", (x,), frozen=frozen)) if norms else x
    x = net.depthwise("b", net.relu("a_relu", x), stride=2)
    x = net.add(BatchNorm("b_bn", (x,), frozen=frozen)) if norms else x
    net.heads(net.relu("b_relu", x), CLASSES)
    return net.graph(seed=seed)


def batch(size: int = 4, seed: int = 0) -> dict[str, tf.Tensor]:
    """Images with two objects each, of which some are padding; elements as `dataset.pipeline` makes them."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 8, (size, 2, 2))
    return {
        "image": tf.constant(rng.random((size, HEIGHT, WIDTH, 3)), tf.float32),
        "boxes": tf.constant(np.concatenate([low, low + rng.uniform(4, 8, low.shape)], axis=-1), tf.float32),
        "class_ids": tf.constant(rng.integers(-1, CLASSES, (size, 2)), tf.int32),
        "weight": tf.constant(rng.uniform(0.5, 2, size), tf.float32),
        "index": tf.range(size, dtype=tf.int64),
    }


def training_config(optimizer: dict[str, dict[str, float]] = ADAM, **regularizer: object) -> TrainingConfig:
    return TrainingConfig(optimizer=optimizer, regularizer=regularizer)


def stepper(
    graph: Graph | KerasGraph,
    config: TrainingConfig | None = None,
    *,
    strategy: tf.distribute.Strategy | None = None,
    frozen: tuple[str, ...] = (),
    teacher: Teacher | None = None,
    mask: LossMask | None = None,
) -> Stepper:
    """A stepper for a detector of the shape of `detector()`."""
    grid = Grid(WIDTH, HEIGHT, WIDTH // 4, HEIGHT // 4)
    rasterizer = Rasterizer(grid, [CoverageShape()] * CLASSES, deadzone_radius=0.5)
    network = graph if isinstance(graph, KerasGraph) else to_keras(graph)
    return Stepper(
        network,
        rasterizer,
        COST,
        config or training_config(),
        strategy or tf.distribute.get_strategy(),
        frozen,
        teacher,
        mask,
    )
