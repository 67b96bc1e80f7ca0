"""qatkit from Python: what the commands do to files, done to values. All of it is also `qatkit.NAME`.

Errors that a user can cause are `qatkit.errors.QatkitError`s of one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import Engine
from qatkit.engine.open import load_keras_engine
from qatkit.engine.open import open_engine as _open_engine
from qatkit.evaluation.evaluate import Result
from qatkit.export.from_python import AnyPath, export
from qatkit.model.file import Model
from qatkit.model.file import save_model as _save_model
from qatkit.model.open import open_model as _open_model
from qatkit.pruning.prune import PruneOptions
from qatkit.pruning.prune import prune as _prune
from qatkit.spec import Experiment, load_experiment
from qatkit.workflow.evaluate import evaluate_engine, load_split

__all__ = ["evaluate", "export", "load_spec", "open_engine", "open_model", "prune", "save_model"]


def load_spec(path: AnyPath) -> Experiment:
    """The training spec in a file, with the default of every field that it leaves out.

    Raises SpecError that names file, line and column.
    """
    return load_experiment(Path(path))


def open_model(path: AnyPath, key: str = "", spec: Experiment | None = None) -> Model:
    """The network in a .tlt file or an .hdf5 of TAO 5, with its weights and what its outputs mean.

    key: of an encrypted file. spec: of its training, which names the classes of a file that does not.
    Raises ModelError for a file that is missing, damaged or encrypted with another key.
    """
    return _open_model(Path(path), key, _labels(spec))


def save_model(model: Model, path: AnyPath, key: str = "") -> None:
    """Write `model` as a .tlt file, encrypted where there is a key."""
    _save_model(Path(path), model, key or None)


def prune(
    model: Model,
    *,
    threshold: float = PruneOptions.threshold,
    target_ratio: float | None = None,
    granularity: int = PruneOptions.granularity,
    min_num_filters: int = PruneOptions.min_num_filters,
    excluded: Sequence[str] = PruneOptions.excluded,
) -> Model:
    """`model` without the filters whose norms are small; it wants to be trained again.

    threshold: filters stay whose norm is above this part of their layer's largest one. target_ratio: instead, the
    smallest threshold that leaves at most this part of the parameters. Of a layer at least `min_num_filters` stay, a
    multiple of `granularity`; of `excluded` layers all.
    """
    options = PruneOptions(
        threshold=threshold, granularity=granularity, min_num_filters=min_num_filters, excluded=tuple(excluded)
    )
    return replace(model, graph=_prune(model.graph, options, target_ratio).graph, pruned=True)


def open_engine(
    path: AnyPath,
    key: str = "",
    *,
    cal_cache: AnyPath | None = None,
    spec: Experiment | None = None,
    threads: int = 0,
) -> Engine:
    """What runs a model file by its ending: .onnx (ONNX Runtime), .tlt or .hdf5 (Keras), .engine (TensorRT).

    Its `predict` takes images [B, H, W, C] in 0..1. cal_cache: of a float ONNX; the pair runs in INT8 as TensorRT 8
    to 10 would build it. spec: what the outputs mean, where the file does not say. threads: of ONNX Runtime, 0 = all.
    """
    cache = None if cal_cache is None else Path(cal_cache)
    return _open_engine(Path(path), key, cal_cache=cache, labels=_labels(spec), threads=threads)


def evaluate(model: Model | Engine, spec: Experiment, *, training_set: bool = False, batch_size: int = 0) -> Result:
    """How well a network detects the objects in the validation images of `spec`, or in its training images.

    A Model runs in Keras, with its fake quantization if it has any. batch_size 0 = that of the spec.
    Raises UsageError when classes or image size of the network are not those of the spec.
    """
    frames = load_split(spec, training_set=training_set)
    engine = load_keras_engine().from_model(model) if isinstance(model, Model) else model
    return evaluate_engine(engine, spec, frames, batch_size=batch_size)


def _labels(spec: Experiment | None) -> Labels | None:
    return None if spec is None else Labels.from_spec(spec)
