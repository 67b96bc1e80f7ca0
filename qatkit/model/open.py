"""A model file together with what its training spec knows about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qatkit.detectnet.labels import Labels
from qatkit.errors import UsageError
from qatkit.model.file import Model
from qatkit.model.pretrained import read_model


def open_model(path: Path, key: str = "", labels: Labels | None = None) -> Model:
    """The model in a `.tlt` or `.hdf5` file.

    A TAO file names no classes and no box encoding: a model from one, also one that was pruned since, takes them from
    `labels`, those of a spec, if there are any. Raises UsageError for another number of classes.
    """
    model = read_model(path, key or None)
    if labels is None or not model.labels.are_unnamed:
        return model
    names = labels.classes
    if len(names) != len(model.classes):
        raise UsageError(
            f"{path}: the network has {len(model.classes)} classes, the spec {len(names)} ({', '.join(names)})",
            hint="cost_function_config.target_classes, in the order of the training",
        )
    return replace(model, classes=names, box_scale=labels.box_scale, box_offset=labels.box_offset)
