"""Where training runs: the CPU, one GPU, several GPUs, or several machines."""

from __future__ import annotations

import os

import tensorflow as tf

from qatkit.errors import EnvironmentProblem, UsageError
from qatkit.progress import info


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
