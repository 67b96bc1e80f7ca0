"""One small data set and one run of the whole workflow, shared by all tests of the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from tests.support.commands import ROOT, replaced, succeed
from tests.support.networks import Net
from tests.support.workspace import (
    CLASSES,
    EPOCHS,
    HEIGHT,
    KEY,
    QAT_EPOCHS,
    TRAINING,
    VALIDATION,
    WIDTH,
    Trained,
    Workspace,
)

# A shell that runs the tests in the background has them ignore SIGINT, and their subprocesses inherit that; the
# commands are tested as a user at a terminal runs them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def python(*arguments: object) -> None:
    subprocess.run([sys.executable, *(str(argument) for argument in arguments)], check=True, cwd=ROOT)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Synthetic images with two classes, converted."""
    root = tmp_path_factory.mktemp("workspace")
    data = root / "data"
    sizes = ("--width", WIDTH, "--height", HEIGHT, "--train", TRAINING, "--val", VALIDATION)
    python("examples/make_synthetic.py", data, *sizes)
    for path in data.glob("*/labels/*.txt"):
        lines = path.read_text().splitlines()
        lines[1::3] = [line.replace("person", "Bag") for line in lines[1::3]]
        path.write_text("".join(f"{line}\n" for line in lines))
    schedule = ("--epochs", EPOCHS, "--qat_epochs", QAT_EPOCHS, "--batch_size", 4)
    python("examples/own_data/make_specs.py", data, root, "--layers", 10, "--classes", *CLASSES, *schedule)
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


@pytest.fixture(scope="session")
def trained(workspace: Workspace) -> Trained:
    """A float ResNet10, encrypted with KEY."""
    spec, results = workspace.spec("train"), workspace.root / "train"
    return Trained(spec, results, succeed("train", "-e", spec, "-r", results, "-k", KEY))


@pytest.fixture(scope="session")
def pruned(workspace: Workspace, trained: Trained) -> Path:
    """It with a fifth of its weights, where the spec of quantization-aware training looks for it."""
    path = workspace.root / "retrain" / "weights" / "model.tlt"
    smaller = ("--target_ratio", 0.2, "-pg", 4, "-nf", 4)
    succeed("prune", "-m", trained.model, "-o", path, "-k", KEY, *smaller)
    return path


@pytest.fixture(scope="session")
def qat(workspace: Workspace, pruned: Path) -> Trained:
    """The pruned network after quantization-aware training."""
    spec, results = workspace.spec("qat"), workspace.root / "qat"
    return Trained(spec, results, succeed("train", "-e", spec, "-r", results, "-k", KEY))


@pytest.fixture(scope="session")
def small(workspace: Workspace) -> Path:
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
