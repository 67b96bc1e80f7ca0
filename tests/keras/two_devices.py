"""Run by test_step.py in a process of its own: the same training on one device and on two.

python tests/training/two_devices.py OUT.npz
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

sys.path.insert(0, ".")
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from qatkit.keras.cost_scaling import CostScaling  # noqa: E402
from qatkit.keras.fake_quant import to_fake_quantized  # noqa: E402
from qatkit.keras.network import to_keras  # noqa: E402
from qatkit.keras.step import Stepper  # noqa: E402
from qatkit.quantization.placement import place  # noqa: E402
from qatkit.spec import CostScalingConfig  # noqa: E402
from tests.support.detector import EPSILON, PLAIN_DESCENT, batch, detector, stepper, training_config  # noqa: E402

SIZE = 4
TWO = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def batches(strategy: tf.distribute.Strategy, count: int) -> list[Mapping[str, tf.Tensor]]:
    """Whole batches; on two devices each gets one half."""
    elements = [batch(SIZE, seed) for seed in range(count)]
    data = tf.data.Dataset.from_tensor_slices(
        {name: tf.concat([element[name] for element in elements], axis=0) for name in elements[0]}
    )
    return list(strategy.experimental_distribute_dataset(data.batch(SIZE)))


def plain(strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """Three steps of a network whose batch norm is frozen (each device has its own statistics otherwise).

    Plain descent: Adam would hide a wrong factor of the gradients.
    """
    with strategy.scope():
        network = to_keras(detector(frozen=True))
        step = stepper(network, training_config(PLAIN_DESCENT, type="L2", weight=1e-3), strategy=strategy)
    results = [step(elements, EPSILON) for elements in batches(strategy, 3)]
    return {
        **network.read().weights,
        "loss": np.array([result.loss for result in results]),
        "components": np.array([result.components for result in results]),
    }


def quantized() -> tuple[Stepper, Mapping[str, np.ndarray]]:
    graph = detector()
    plan = place(graph)
    with TWO.scope():
        network = to_fake_quantized(graph, plan, dict.fromkeys(plan.activations, 4.0), 0.9)
        step = stepper(network, strategy=TWO)
    return step, {**network.state(), **step.state()}


def bad_step() -> dict[str, np.ndarray]:
    """One device alone has a gradient that is not finite."""
    with TWO.scope():
        scaling = CostScaling(CostScalingConfig(enabled=True, initial_exponent=4, increment=1, decrement=2))

    def gradients() -> tf.Tensor:
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return tf.concat(scaling.unscaled([tf.where(first, [np.inf], [1.0]), tf.constant([1.0])]), axis=0)

    found = TWO.run(tf.function(gradients))
    return {"gradients": np.array(TWO.experimental_local_results(found)), "exponent": scaling.exponent.numpy()}


def main(output: str) -> None:
    one, two = plain(tf.distribute.get_strategy()), plain(TWO)
    before = detector(frozen=True).weights
    changed = max(np.abs(one[name] - before[name]).max() for name in before)
    step, start = quantized()
    for elements in batches(TWO, 2):
        step(elements, 1e-3)
    saved = {**step.network.state(), **step.state()}
    other, _ = quantized()
    other.network.restore(saved)
    other.restore(saved)
    restored = {**other.network.state(), **other.state()}
    np.savez(
        output,
        replicas=TWO.num_replicas_in_sync,
        changed=changed,
        **{f"bad/{name}": array for name, array in bad_step().items()},
        qat_moved=np.array([(saved[name] != start[name]).any() for name in start if name != "objective_weights"]),
        **{f"one/{name}": array for name, array in one.items()},
        **{f"two/{name}": array for name, array in two.items()},
        **{f"saved/{name}": array for name, array in saved.items()},
        **{f"restored/{name}": array for name, array in restored.items()},
    )


if __name__ == "__main__":
    main(sys.argv[1])
