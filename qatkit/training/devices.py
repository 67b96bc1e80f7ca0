"""Where training runs: the CPU, one GPU, several GPUs, or several machines."""

from __future__ import annotations

import json
import os

import tensorflow as tf

from qatkit.console import info
from qatkit.errors import EnvironmentProblem, UsageError


def is_chief() -> bool:
    """Whether this process writes the results: of several machines (TF_CONFIG) the chief, or else the first worker.

    Raises EnvironmentProblem when TF_CONFIG is not what TensorFlow expects.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return True
    try:
        config = json.loads(text)
        kind, index = config["task"]["type"], int(config["task"]["index"])
        return kind == "chief" or (kind == "worker" and index == 0 and "chief" not in config["cluster"])
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblem("TF_CONFIG: should be JSON with cluster and task, type and index") from error


def strategy(gpus: int) -> tf.distribute.Strategy:
    """The distribution strategy for `--gpus N`; several machines when TF_CONFIG is set.

    Without any GPU, one "GPU" means the CPU, with a line that says so.
    Raises UsageError for a count below 1, EnvironmentProblem for more GPUs than there are.
    """
    if gpus < 1:
        raise UsageError(f"--gpus must be at least 1, found {gpus}")
    found = tf.config.list_physical_devices("GPU")
    if gpus > max(len(found), 1):
        raise EnvironmentProblem(f"--gpus {gpus}: this machine has {len(found)} usable by TensorFlow")
    if not found:
        info("No GPU found: training on the CPU.")
    if os.environ.get("TF_CONFIG"):
        return tf.distribute.MultiWorkerMirroredStrategy()
    if gpus > 1:
        return tf.distribute.MirroredStrategy([f"GPU:{index}" for index in range(gpus)])
    return tf.distribute.get_strategy()


def only_deterministic() -> None:
    """Let TensorFlow use only operations that give the same bits every time."""
    tf.config.experimental.enable_op_determinism()


def sum_of(strategy: tf.distribute.Strategy, number: int) -> int:
    """The sum of a number over all replicas, those of other machines included; all must ask for it."""
    numbers = strategy.run(lambda: tf.constant(number, tf.int64))
    return int(strategy.reduce(tf.distribute.ReduceOp.SUM, numbers, axis=None))


def check_same_step(strategy: tf.distribute.Strategy, step: int) -> None:
    """Raise EnvironmentProblem unless all machines are about to continue from the same step."""
    if sum_of(strategy, step) != step * strategy.num_replicas_in_sync:
        raise EnvironmentProblem(
            f"this machine would continue from step {step}, others from another one",
            hint="-r must be a folder that all machines share",
        )
