"""One training step: forward, cost, gradients, update; on one device or many."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from qatkit.console import info
from qatkit.graph.nodes import Conv2D
from qatkit.keras.cost import CostConfig, component_costs, task_cost
from qatkit.keras.cost_scaling import CostScaling
from qatkit.keras.loss_mask import LossMask
from qatkit.keras.network import KerasGraph
from qatkit.keras.preparation import Element
from qatkit.keras.rasterizer import Rasterizer, Targets
from qatkit.spec import RegularizerConfig, TrainingConfig

_TRAINED_PARTS = ("kernel", "bias", "gamma", "beta")


@dataclass(frozen=True)
class StepResult:
    """What one step reports: the total cost and the unweighted mean costs [C, 2] (cov, bbox) of each class.

    With a teacher the mean costs are those of labels and teacher together.
    """

    loss: float
    components: NDArray[np.float32]


@dataclass(frozen=True)
class Teacher:
    """A trained network that another one imitates. weight: the share of imitation in the cost, 0..1."""

    network: KerasGraph
    weight: float

    def targets(self, images: tf.Tensor, labelled: Targets) -> Targets:
        """What the teacher finds on images [B, H, W, C] in place of the labels; boxes count where objects are."""
        bbox, cov = self.network.model(images, training=False)
        return Targets(cov, bbox, labelled.cov_norm)


class Stepper:
    """Owns the optimizer and the objective weights of a network and updates it batch by batch.

    Build it inside `strategy.scope()`.
    """

    def __init__(
        self,
        network: KerasGraph,
        rasterizer: Rasterizer,
        cost: CostConfig,
        config: TrainingConfig,
        strategy: tf.distribute.Strategy,
        frozen: Collection[str] = (),
        teacher: Teacher | None = None,
        mask: LossMask | None = None,
        prepare: Callable[[Element], Element] | None = None,
    ) -> None:
        """frozen: names of nodes whose weights stay as they are. teacher: a network whose outputs are learned too.

        mask: where the cost counts less; the class ids of batches are its label ids.
        prepare: makes what is learned from of each batch, as a part of the step (`keras.preparation`).
        """
        self.network = network
        self.objective_weights = tf.Variable(cost.initial_weights, trainable=False)
        self.cost_config = cost
        self._rasterizer = rasterizer
        self._strategy = strategy
        self._teacher = teacher
        self._mask = mask
        self._prepare = prepare or _as_it_is
        self._trained = [
            variable
            for name, variable in network.variables.items()
            if name.rpartition("/")[2] in _TRAINED_PARTS and name.rpartition("/")[0] not in frozen
        ]
        self._regularized = [
            network.variables[name]
            for node in network.graph.nodes
            if isinstance(node, Conv2D)
            for name in node.weight_names()
        ]
        self._regularizer = config.regularizer
        self.scaling = CostScaling.from_spec(config.cost_scaling)
        adam = config.optimizer.adam
        self.optimizer = tf_keras.optimizers.Adam(
            learning_rate=0.0, beta_1=adam.beta1, beta_2=adam.beta2, epsilon=adam.epsilon, jit_compile=False
        )
        self.optimizer.build(self._trained)
        self._step = tf.function(self._distributed)  # one graph for each value of `moving`
        self._compiled: set[bool] = set()
        self._task_cost = tf.function(self._cost_of, reduce_retracing=True)  # the last batch may be smaller

    def __call__(self, batch: dict[str, tf.Tensor], learning_rate: float, *, moving: bool = True) -> StepResult:
        """Update the weights from one batch, which `prepare` understands.

        moving: whether batch-norm statistics and quantization ranges follow the batch; at the end of
        quantization-aware training both are frozen while the weights settle on them.
        """
        self.optimizer.learning_rate.assign(learning_rate)
        if moving not in self._compiled:
            self._compiled.add(moving)
            info(f"Compiling the training step{'' if moving else ' with frozen statistics'} ...")
        loss, components = self._step(batch, moving)
        return StepResult(float(loss), components.numpy())

    def cost(self, batch: Mapping[str, Any], cov: tf.Tensor, bbox: tf.Tensor) -> float:
        """The task cost of outputs cov [B, h, w, C] and bbox [B, h, w, 4C] for a labelled batch."""
        return float(self._task_cost(batch, cov, bbox))

    def _cost_of(self, batch: dict[str, tf.Tensor], cov: tf.Tensor, bbox: tf.Tensor) -> tf.Tensor:
        labelled = self._labelled(batch)
        return self._weighted(self._components(batch, cov, bbox, labelled, self._masked(batch, labelled)))

    def _weighted(self, components: tf.Tensor) -> tf.Tensor:
        return task_cost(self.cost_config, components, self.objective_weights)

    def _labelled(self, batch: dict[str, tf.Tensor]) -> Targets:
        ids = batch["class_ids"]
        return self._rasterizer.batch_targets(
            batch["boxes"], ids if self._mask is None else self._mask.class_ids(ids)
        )

    def _masked(self, batch: dict[str, tf.Tensor], labelled: Targets) -> tf.Tensor | None:
        return None if self._mask is None else self._mask(batch["boxes"], batch["class_ids"], labelled.cov)

    def _components(
        self,
        batch: dict[str, tf.Tensor],
        cov: tf.Tensor,
        bbox: tf.Tensor,
        targets: Targets,
        mask: tf.Tensor | None,
    ) -> tf.Tensor:
        return component_costs(self.cost_config, cov, bbox, targets, batch["weight"], mask)

    def _taught(self, batch: dict[str, tf.Tensor], cov: tf.Tensor, bbox: tf.Tensor) -> tf.Tensor:
        """The mean costs [C, 2]; with a teacher, those of the labels mixed with those of its outputs as targets."""
        labelled = self._labelled(batch)
        mask = self._masked(batch, labelled)
        components = self._components(batch, cov, bbox, labelled, mask)
        if self._teacher is None:
            return components
        imitation = self._components(batch, cov, bbox, self._teacher.targets(batch["image"], labelled), mask)
        return (1 - self._teacher.weight) * components + self._teacher.weight * imitation

    def _distributed(self, batch: dict[str, tf.Tensor], moving: bool) -> tuple[tf.Tensor, tf.Tensor]:
        loss, components = self._strategy.run(self._replica, args=(batch, moving))
        mean = tf.distribute.ReduceOp.MEAN
        return self._strategy.reduce(mean, loss, axis=None), self._strategy.reduce(mean, components, axis=None)

    def _replica(self, batch: dict[str, tf.Tensor], moving: bool) -> tuple[tf.Tensor, tf.Tensor]:
        batch = self._prepare(batch)
        with tf.GradientTape() as tape:
            bbox, cov = self.network.model(batch["image"], training=moving)
            components = self._taught(batch, cov, bbox)
            loss = self._weighted(components) + self._regularization()
            scaled = loss if self.scaling is None else self.scaling.scaled(loss)
        gradients = tape.gradient(scaled, self._trained)
        if self.scaling is not None:
            gradients = self.scaling.unscaled(gradients)
        # The gradients of all replicas are averaged, as TAO does; Keras itself would add them up.
        replicas = self._strategy.num_replicas_in_sync
        pairs = [(g / replicas, v) for g, v in zip(gradients, self._trained) if g is not None]
        self.optimizer.apply_gradients(pairs)
        return loss, components

    def _regularization(self) -> tf.Tensor:
        """weight * sum |v| or sum v^2 over kernels and biases of all convolutions, heads included."""
        if self._regularizer.type == RegularizerConfig.NO_REG or self._regularizer.weight == 0:
            return tf.constant(0.0)
        measure = tf.abs if self._regularizer.type == RegularizerConfig.L1 else tf.square
        return self._regularizer.weight * tf.add_n([tf.reduce_sum(measure(v)) for v in self._regularized])

    def state(self) -> dict[str, NDArray[Any]]:
        """Optimizer and objective weights, for a checkpoint."""
        slots = {f"optimizer/{index:04d}": v.numpy() for index, v in enumerate(self.optimizer.variables)}
        scaling = {} if self.scaling is None else self.scaling.state()
        return {**slots, **scaling, "objective_weights": self.objective_weights.numpy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from `state()`."""
        for index, variable in enumerate(self.optimizer.variables):
            variable.assign(arrays[f"optimizer/{index:04d}"])
        self.objective_weights.assign(arrays["objective_weights"])
        if self.scaling is not None:
            self.scaling.restore(arrays)


def _as_it_is(batch: Element) -> Element:
    return batch
