"""The data set, the settings and the results that the tests of the command line share (`tests/cli/conftest.py`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import Outcome

KEY = "the pass-phrase"
CLASSES = ("person", "bag")
TRAINING, VALIDATION = 16, 8  # images
WIDTH, HEIGHT = 128, 96
EPOCHS, QAT_EPOCHS = 2, 3


@dataclass(frozen=True)
class Workspace:
    """A data set with record files and specs, as examples/own_data makes them. `outcomes`: of the conversions."""

    root: Path
    outcomes: tuple[Outcome, ...]

    @property
    def data(self) -> Path:
        return self.root / "data"

    def records(self, split: str) -> Path:
        """The record file of split train or val."""
        return next((self.root / "tfrecords" / split).glob("part-fold-*"))

    def spec(self, name: str) -> Path:
        return self.root / "specs" / f"{name}.txt"


@dataclass(frozen=True)
class Trained:
    """What one training left behind."""

    spec: Path
    results: Path
    outcome: Outcome

    @property
    def model(self) -> Path:
        return self.results / "weights" / "model.tlt"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of status.json."""
        return [json.loads(line) for line in (self.results / "status.json").read_text().splitlines()]
