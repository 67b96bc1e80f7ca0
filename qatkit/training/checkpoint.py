"""Checkpoints: everything a killed run needs to end with the same weights, in one safetensors file each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from qatkit.choices import KEEP
from qatkit.errors import ModelError, UsageError
from qatkit.files import write_bytes

# The second number: steps of the training, where the epoch after those that are done has begun.
_PATTERN = re.compile(r"^model\.epoch-(\d+)(?:\.step-(\d+))?\.ckpt$")


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    run: identifies the training that the checkpoint belongs to (see `fingerprint`). training: the same whatever the
    number of epochs that were planned, which is `epochs`; "" and 0 in a checkpoint of a version that did not say.
    epoch: epochs that are done. partial: whether steps of the next one are done too.
    """

    run: str
    step: int
    epoch: int
    training: str = ""
    epochs: int = 0
    partial: bool = False

    @property
    def done(self) -> str:
        """For the user."""
        return f"step {self.step}, in epoch {self.epoch + 1}" if self.partial else f"epoch {self.epoch}"


def fingerprint(*facts: object) -> str:
    """Identifies a training by all that its weights depend on: where one fact differs, it is another one."""
    return hashlib.sha256("\n".join(map(repr, facts)).encode()).hexdigest()[:16]


def save_checkpoint(
    directory: Path,
    progress: Progress,
    arrays: Mapping[str, NDArray[Any]],
    extra: Mapping[str, Any] | None = None,
    keep: int = KEEP,
) -> Path:
    """Write `model.epoch-<epoch>.ckpt` in one step, within an epoch with its step, and remove all but the newest."""
    step = f".step-{progress.step}" if progress.partial else ""
    path = directory / f"model.epoch-{progress.epoch}{step}.ckpt"
    metadata = {"progress": json.dumps(asdict(progress)), "extra": json.dumps(extra or {})}
    # safetensors writes an array's memory as it lies; NumPy makes a vector of a contiguous scalar.
    contiguous = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in arrays.items()}
    write_bytes(path, save(contiguous, metadata), durable=True)
    for old in _all(directory)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def latest(directory: Path) -> Path | None:
    """The checkpoint of the most steps, or None."""
    found = _all(directory)
    return found[-1] if found else None


def load_checkpoint(
    path: Path, run: str, *, training: str = "", epochs: int = 0, extend: bool = False
) -> tuple[Progress, dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a checkpoint: progress, arrays, extra values.

    run, training, epochs: of what is to go on from it, as in `Progress`. extend: also where another number of epochs
    was planned. Raises ModelError when the file is damaged, UsageError when it belongs to another training.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        progress = Progress(**json.loads(metadata["progress"]))
        extra = json.loads(metadata["extra"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: damaged checkpoint", hint="remove it, or train with --restart") from error
    if progress.run != run:
        if not training or progress.training != training:
            raise _other_training(path, progress, extend)
        _check_epochs(path, progress, epochs, extend)
    return progress, arrays, extra


def _other_training(path: Path, progress: Progress, extend: bool) -> UsageError:
    if extend and not progress.training:
        return UsageError(
            f"{path}: written by a version of qatkit that did not record what --extend has to know",
            hint="train with the former num_epochs, or --restart, or another -r with the old weights as "
            "pretrained_model_file",
        )
    beside = " beside num_epochs" if extend else ""
    return UsageError(
        f"{path}: this results folder holds a training with another spec, data, model to start from or flags{beside}",
        hint="use another -r, or --restart to begin anew here",
    )


def _check_epochs(path: Path, progress: Progress, epochs: int, extend: bool) -> None:
    """Raise UsageError unless a training that was planned for other `epochs` is to go on, and still can."""
    planned = f"{path}: this training was planned for {progress.epochs} epochs, the spec now has {epochs}"
    others = "--restart begins anew here; or another -r, with the old weights as pretrained_model_file"
    if epochs < progress.epoch + progress.partial:
        done = f"{progress.epoch} and a part" if progress.partial else f"{progress.epoch}"
        raise UsageError(f"{planned}, and {done} are done already", hint=others)
    if not extend:
        raise UsageError(planned, hint=f"--extend goes on to {epochs}, {others}")


def newest_progress(directory: Path) -> Progress | None:
    """Where the run of the newest checkpoint stands; None without one that can be read."""
    path = latest(directory)
    if path is None:
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return Progress(**json.loads((file.metadata() or {})["progress"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None  # `load_checkpoint` says what is wrong


def remove_checkpoints(directory: Path) -> None:
    """Forget a former training."""
    for path in _all(directory):
        path.unlink(missing_ok=True)


def _all(directory: Path) -> list[Path]:
    matches = [(match, path) for path in directory.iterdir() if (match := _PATTERN.match(path.name))]
    return [path for _, _, path in sorted((int(match[1]), int(match[2] or 0), path) for match, path in matches)]
