"""Memory that does not suffice, told with the two numbers that decide it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from qatkit.errors import EnvironmentProblem
from qatkit.spec import Experiment


@contextmanager
def memory_errors(spec: Experiment) -> Iterator[None]:
    """Around the training of `spec`: what Python, TensorFlow or a GPU says of memory becomes EnvironmentProblem."""
    try:
        yield
    except (MemoryError, tf.errors.OpError) as error:
        if not _of_memory(error):
            raise
        images = spec.augmentation_config.preprocessing
        raise EnvironmentProblem(
            f"out of memory with batch_size_per_gpu {spec.training_config.batch_size_per_gpu} and images of "
            f"{images.output_image_width}x{images.output_image_height}",
            hint="lower batch_size_per_gpu first, then output_image_width and output_image_height, or prune the "
            "model; with another value the training begins anew, in another -r or with --restart",
        ) from error


def _of_memory(error: BaseException) -> bool:
    exhausted = isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError))
    return exhausted or "out of memory" in str(error).lower()
