"""A model file of either kind, together with what its training spec knows about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qatkit.detectnet.fit import check_fit
from qatkit.detectnet.labels import Labels
from qatkit.errors import UsageError
from qatkit.model.file import Model, read_tlt
from qatkit.model.hdf5 import is_hdf5, read_hdf5
from qatkit.spec import Experiment


def open_model(path: Path, key: str = "", labels: Labels | None = None) -> Model:
    """The model in a qatkit `.tlt` or a TAO 5 `.hdf5` file, told apart by their content.

    A TAO file names no classes and no box encoding: a model from one, also one that was pruned since, takes them from
    `labels`, if there are any, those of its training spec. Raises UsageError when they have another number of
    classes, ModelError for a file that is missing, damaged, of another kind or encrypted with another key.
    """
    model = read_hdf5(path) if is_hdf5(path) else read_tlt(path, key or None)
    if labels is None or not model.labels.are_unnamed:
        return model
    count, names = len(model.labels.classes), labels.classes
    if len(names) != count:
        raise UsageError(
            f"{path}: the network has {count} classes, the spec {len(names)} ({', '.join(names)})",
            hint="cost_function_config.target_classes, in the order of the training",
        )
    return replace(model, labels=labels)


def open_for_spec(path: Path, key: str, spec: Experiment) -> Model:
    """`open_model` for the training `spec`. Raises UsageError when the model is not for its images and classes."""
    model = open_model(path, key, Labels.from_spec(spec))
    check_fit(spec, model.graph.input.shape, model.labels.classes, str(path))
    return model
