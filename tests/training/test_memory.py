from __future__ import annotations

import pytest
import tensorflow as tf

from qatkit.errors import EnvironmentProblem
from qatkit.spec import Experiment
from qatkit.training.memory import memory_errors


def spec() -> Experiment:
    spec = Experiment()
    spec.training_config.batch_size_per_gpu = 16
    images = spec.augmentation_config.preprocessing
    images.output_image_width, images.output_image_height = 960, 544
    return spec


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,512,512]\nHint: ..."),
        tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    ],
)
def test_batch_and_resolution_are_named(error: Exception) -> None:
    with pytest.raises(EnvironmentProblem) as caught, memory_errors(spec()):
        raise error
    assert str(caught.value).startswith(
        "out of memory with batch_size_per_gpu 16 and images of 960x544 (lower batch_size_per_gpu first, then"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [tf.errors.InternalError(None, None, "a bug"), ValueError("out of memory")])
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory_errors(spec()):
        raise error
    assert caught.value is error
