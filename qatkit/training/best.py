"""The model of the best validation so far, kept beside the final one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qatkit.errors import EnvironmentProblem
from qatkit.files import sha256, write_json
from qatkit.model.file import Model, save_model


@dataclass(frozen=True)
class Best:
    """epoch: after which it was validated (1-based). map: its mean average precision, percent."""

    epoch: int
    map: float

    def __str__(self) -> str:
        return f"best: epoch {self.epoch}, mAP {self.map:.2f}"


class BestModel:
    """Keeps `<weights>/<name>.best.tlt`, with `.best.json` beside it, which says which validation that was.

    What is on the disk counts, not what the checkpoint knew that a run goes on from: the best may be younger than it.
    The record names training and file, so that neither that of another training nor half of a pair is taken for it.
    """

    def __init__(
        self, weights: Path, name: str, training: str, read: Callable[[], Model], key: str = "", *, saves: bool = True
    ) -> None:
        """training: by what the run is known again. read: gives the network as a model. key: of the file, "" = none.

        saves: whether this process writes; of several that train together one does, but all have to read.
        """
        self.path = weights / f"{name}.best.tlt"
        self._record = weights / f"{name}.best.json"
        self._training = training
        self._read = read
        self._key = key
        self._saves = saves
        self.best = self._recorded()

    def offer(self, epoch: int, map: float) -> None:
        """Keep the network as it is now, if its validation is better than that of all before."""
        model = self._read()
        if self.best is not None and map <= self.best.map:
            return
        self.best = Best(epoch, map)
        if self._saves:
            save_model(self.path, model, self._key or None)
            facts = {"epoch": epoch, "mean average precision": map}
            write_json(self._record, {**facts, "training": self._training, "sha256": sha256(self.path)})

    def forget(self) -> None:
        """The training begins anew."""
        self.best = None
        if self._saves:
            for path in (self._record, self.path):
                path.unlink(missing_ok=True)

    def _recorded(self) -> Best | None:
        try:
            record = json.loads(self._record.read_text())
            if record["training"] == self._training and record["sha256"] == sha256(self.path):
                return Best(int(record["epoch"]), float(record["mean average precision"]))
        except (OSError, EnvironmentProblem, ValueError, KeyError, TypeError):
            pass  # no record, or none that can be used
        return None
