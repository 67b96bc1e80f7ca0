"""The data set, the settings and the results that the tests of whole commands share (`tests/cli/conftest.py`)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from tests.support.commands import ROOT, Outcome, replaced, succeed
from tests.support.networks import Net

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


def make_workspace(root: Path) -> Workspace:
    """Synthetic images with two classes in `root`, converted."""
    data = root / "data"
    sizes = ("--width", WIDTH, "--height", HEIGHT, "--train", TRAINING, "--val", VALIDATION)
    _python("examples/make_synthetic.py", data, *sizes)
    for path in data.glob("*/labels/*.txt"):
        lines = path.read_text().splitlines()
        lines[1::3] = [line.replace("person", "Bag") for line in lines[1::3]]
        path.write_text("".join(f"{line}\n" for line in lines))
    schedule = ("--epochs", EPOCHS, "--qat_epochs", QAT_EPOCHS, "--batch_size", 4)
    _python("examples/own_data/make_specs.py", data, root, "--layers", 10, "--classes", *CLASSES, *schedule)
    outcomes = [
        succeed(
            "dataset_convert",
            "-d",
            root / "specs" / f"convert_{split}.txt",
            "-o",
            root / "tfrecords" / split / "part",
        )
        for split in ("train", "val")
    ]
    return Workspace(root, tuple(outcomes))


def small_training(workspace: Workspace) -> Path:
    """The spec of a quantization-aware training that starts from a few layers; checkpoints every epoch."""
    net = Net(HEIGHT, WIDTH)
    stem = net.conv_bn_relu("stem", net.input, 8, stride=4)
    net.heads(net.add_relu("sum", net.conv_bn("a", stem, 8), stem))
    model = workspace.root / "small.tlt"
    save_model(model, Model(net.graph(), Labels(CLASSES)))
    spec = workspace.spec("small")
    qat = workspace.spec("qat").read_text()
    start = str(workspace.root / "retrain" / "weights" / "model.tlt")
    spec.write_text(replaced(qat, (start, str(model)), (f"num_epochs: {QAT_EPOCHS}", "num_epochs: 5")))
    return spec


def _python(*arguments: object) -> None:
    subprocess.run([sys.executable, *(str(argument) for argument in arguments)], check=True, cwd=ROOT)
