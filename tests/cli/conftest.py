"""One small data set and one run of the whole workflow, shared by all tests of the command line."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.commands import succeed
from tests.support.workspace import KEY, Trained, Workspace, make_workspace, small_training

# A shell that runs the tests in the background has them ignore SIGINT, and their subprocesses inherit that; the
# commands are tested as a user at a terminal runs them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Synthetic images with two classes, converted."""
    return make_workspace(tmp_path_factory.mktemp("workspace"))


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
    return small_training(workspace)
