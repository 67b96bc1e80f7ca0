"""Spec file -> checked message with its effective defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from google.protobuf.message import Message

from qatkit import console
from qatkit.spec import checks, contradictions, defaults, notices
from qatkit.spec.messages import DatasetExportConfig, Experiment, Inference
from qatkit.spec.parse import parse, printable, read_text

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Review(Generic[M]):
    """All there is to say of a spec file that can be read, one line each.

    message: with its effective defaults. problems: why no command takes it. contradictions: what cannot be meant,
    though commands run with it. notices: fields without effect, and settings that TAO treats in another way.
    """

    message: M
    problems: tuple[str, ...]
    contradictions: tuple[str, ...]
    notices: tuple[str, ...]


def load_experiment(path: Path | str) -> Experiment:
    """The spec of train, evaluate, calibration_tensorfile and export.

    Fields that the file does not set hold what they mean then (`checkpoint_interval` 10, `source_weight` 1, ...).
    Raises SpecError when the file cannot be read or makes no sense; warns, once, of what does not fit together, of
    fields without effect and of settings that TAO treats in another way.
    """
    return _accepted(review_experiment(path), path)


def load_dataset_export(path: Path | str) -> DatasetExportConfig:
    """The spec of dataset_convert; `image_extension` begins with a dot. Raises and warns as `load_experiment`."""
    return _accepted(review_dataset_export(path), path)


def load_inference(path: Path | str) -> Inference:
    """The spec of inference. A class's `confidence_threshold` is that of its clustering, where this has none.

    Raises and warns as `load_experiment`.
    """
    return _accepted(review_inference(path), path)


def review_experiment(path: Path | str) -> Review[Experiment]:
    """What there is to say of the spec of train, evaluate, calibration_tensorfile and export.

    Raises SpecError only when the file cannot be read.
    """
    return _review(
        path,
        Experiment,
        defaults.resolve_experiment,
        checks.experiment_problems,
        contradictions.of_experiment,
        notices.of_experiment,
    )


def review_dataset_export(path: Path | str) -> Review[DatasetExportConfig]:
    """What there is to say of the spec of dataset_convert; errors as `review_experiment`."""
    return _review(
        path,
        DatasetExportConfig,
        defaults.resolve_dataset_export,
        checks.dataset_export_problems,
        _none,
        notices.of_dataset_export,
    )


def review_inference(path: Path | str) -> Review[Inference]:
    """What there is to say of the spec of inference; errors as `review_experiment`."""
    return _review(
        path, Inference, defaults.resolve_inference, checks.inference_problems, _none, notices.of_inference
    )


def _none(message: Message) -> Iterator[str]:
    return iter(())


def _review(
    path: Path | str,
    message_type: type[M],
    resolve: Callable[[M], None],
    problems: Callable[[M], Sequence[str]],
    contradictions_of: Callable[[M], Iterator[str]],
    notices_of: Callable[[M], Iterator[str]],
) -> Review[M]:
    message = parse(read_text(Path(path)), message_type, str(path))
    given = message_type()
    given.CopyFrom(message)
    resolve(message)
    return Review(
        message,
        tuple(map(printable, problems(message))),
        tuple(map(printable, contradictions_of(message))),
        tuple(map(printable, notices_of(given))),  # of what the user wrote, not of our defaults
    )


def _accepted(review: Review[M], path: Path | str) -> M:
    """The message of a good spec; raises SpecError for another one, tells its user what there is to say."""
    checks.refuse(review.problems, str(path))
    for line in (*review.contradictions, *review.notices):
        _warn_once(printable(f"{path}: {line}"))
    return review.message


@cache
def _warn_once(line: str) -> None:
    """A command may read its spec more than once; its user is told once."""
    console.warn(line)
