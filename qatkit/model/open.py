"""A model file together with what its training spec knows about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qatkit.errors import UsageError
from qatkit.model.file import Model
from qatkit.model.pretrained import read_model
from qatkit.spec import Experiment, class_names


def open_model(path: Path, key: str = "", spec: Experiment | None = None) -> Model:
    """The model in a `.tlt` or `.hdf5` file.

    A TAO file names no classes and no box encoding: a model from one, also one that was pruned since, takes them from
    `spec`, if there is one. Raises UsageError when that has another number of classes.
    """
    model = read_model(path, key or None)
    if spec is None or not model.labels.are_unnamed:
        return model
    names, bbox = class_names(spec), spec.model_config.objective_set.bbox
    if len(names) != len(model.classes):
        raise UsageError(
            f"{path}: the network has {len(model.classes)} classes, the spec {len(names)} ({', '.join(names)})",
            hint="cost_function_config.target_classes, in the order of the training",
        )
    return replace(model, classes=tuple(names), box_scale=bbox.scale, box_offset=bbox.offset)
