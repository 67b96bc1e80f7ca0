"""Spec file -> checked message with its effective defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from qatkit import progress
from qatkit.spec import checks, defaults, notices
from qatkit.spec.messages import DatasetExportConfig, Experiment, Inference
from qatkit.spec.parse import parse, printable, read_text

M = TypeVar("M", bound=Message)


def load_experiment(path: Path | str) -> Experiment:
    """The spec of train, evaluate, calibration_tensorfile and export.

    Fields that the file does not set hold what they mean then (`checkpoint_interval` 10, `source_weight` 1, ...).
    Raises SpecError when the file cannot be read or makes no sense; warns, once, of fields without effect and of
    settings that TAO treats in another way.
    """
    return _load(path, Experiment, defaults.resolve_experiment, checks.check_experiment, notices.of_experiment)


def load_dataset_export(path: Path | str) -> DatasetExportConfig:
    """The spec of dataset_convert; `image_extension` begins with a dot. Raises and warns as `load_experiment`."""
    return _load(
        path, DatasetExportConfig, defaults.resolve_dataset_export, checks.check_dataset_export, notices.of_unused
    )


def load_inference(path: Path | str) -> Inference:
    """The spec of inference. A class's `confidence_threshold` is that of its clustering, where this has none.

    Raises and warns as `load_experiment`.
    """
    return _load(path, Inference, defaults.resolve_inference, checks.check_inference, notices.of_unused)


def class_names(experiment: Experiment) -> list[str]:
    """The classes in the order of the network's outputs."""
    return [target.name for target in experiment.cost_function_config.target_classes]


def _load(
    path: Path | str,
    message_type: type[M],
    resolve: Callable[[M], None],
    check: Callable[[M, str], None],
    notices_of: Callable[[M], Iterator[str]],
) -> M:
    message = parse(read_text(Path(path)), message_type, str(path))
    given = message_type()
    given.CopyFrom(message)
    resolve(message)
    check(message, str(path))
    for notice in notices_of(given):  # of what the user wrote, not of our defaults
        _warn_once(printable(f"{path}: {notice}"))
    return message


@cache
def _warn_once(line: str) -> None:
    """A command may read its spec more than once; its user is told once."""
    progress.warn(line)
