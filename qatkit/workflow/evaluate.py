"""`qatkit evaluate`: the average precision of any model file on the data of a training spec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from qatkit.console import track
from qatkit.dataset.frames import FrameTable, load_frames
from qatkit.detectnet.clustering import Compat
from qatkit.engine.base import Engine
from qatkit.errors import UsageError
from qatkit.evaluation.evaluate import EvaluationSettings, Observe, Result, evaluate
from qatkit.keras.batches import data_errors, evaluation_batches
from qatkit.spec import Experiment, class_names


def load_split(spec: Experiment, *, training_set: bool = False) -> FrameTable:
    """The validation frames of `spec`, or its training frames."""
    split: Literal["training", "validation"] = "training" if training_set else "validation"
    return load_frames(spec.dataset_config, class_names(spec), split)


def evaluate_engine(
    engine: Engine,
    spec: Experiment,
    frames: FrameTable,
    *,
    batch_size: int = 0,
    compat: Compat = "none",
    observe: Observe | None = None,
) -> Result:
    """Evaluate `engine` on `frames`, each once. batch_size 0 = that of the spec. observe: as of `evaluate`.

    Raises UsageError when classes or image size of the network are not those of the spec.
    """
    check_fit(engine, spec)
    size = batch_size or spec.training_config.batch_size_per_gpu
    with data_errors():
        return evaluate(engine.predict, _shown(frames, spec, size), settings_of(spec, engine, compat=compat), observe)


def settings_of(spec: Experiment, engine: Engine, *, compat: Compat = "none") -> EvaluationSettings:
    """The settings of `spec` with the box encoding of the network."""
    settings = EvaluationSettings.from_spec(spec, compat=compat)
    return replace(settings, scale=engine.info.box_scale, offset=engine.info.box_offset)


def _shown(frames: FrameTable, spec: Experiment, batch_size: int) -> Iterator[dict[str, Any]]:
    batches = evaluation_batches(frames, spec.augmentation_config, batch_size)
    return track(batches, "Evaluation", -(-len(frames) // batch_size))


def check_fit(engine: Engine, spec: Experiment) -> None:
    """Raise UsageError when the network is not for the classes and images of `spec`."""
    image = spec.augmentation_config.preprocessing
    wanted = (image.output_image_height, image.output_image_width, image.output_image_channel)
    if engine.info.input_shape != wanted:
        height, width, channels = engine.info.input_shape
        raise UsageError(
            f"the model takes {width}x{height}x{channels} images, the spec has {wanted[1]}x{wanted[0]}x{wanted[2]}",
            hint="augmentation_config.preprocessing.output_image_*",
        )
    if engine.info.classes != tuple(class_names(spec)):
        raise UsageError(
            f"the model knows {', '.join(engine.info.classes)}; the spec has {', '.join(class_names(spec))}",
            hint="cost_function_config.target_classes, in the same order",
        )
