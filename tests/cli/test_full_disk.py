"""A disk that takes no more, at every command that writes: one line, nothing half-written, former files stay.

Files may have no more than so many bytes here, which the system refuses as it does where there is no space.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import Outcome, qatkit, replaced, succeed
from tests.support.workspace import Workspace


@dataclass(frozen=True)
class Place:
    """What is read, and the folder where everything is written. `onnx` is exported from `model`."""

    workspace: Workspace
    spec: Path
    model: Path
    onnx: Path
    out: Path

    @property
    def images(self) -> Path:
        return self.workspace.data / "val" / "images"


@pytest.fixture(scope="module")
def onnx(workspace: Workspace, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    succeed("export", "-m", workspace.root / "small.tlt", "-o", path)
    return path


@pytest.fixture
def place(workspace: Workspace, small: Path, onnx: Path, tmp_path: Path) -> Place:
    spec = tmp_path / "spec.txt"
    spec.write_text(replaced(small.read_text(), ("num_epochs: 5", "num_epochs: 1")))
    return Place(workspace, spec, workspace.root / "small.tlt", onnx, tmp_path / "out")


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file grows beyond `limit` bytes."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


# The file that is too large, the bytes that there is room for, and the command.
CASES: dict[str, tuple[str, int, Callable[[Place], tuple[object, ...]]]] = {
    "dataset_convert": (
        "part-fold-000-of-002-shard-00000-of-00001",
        5_000,
        lambda p: ("-d", p.workspace.spec("convert_train"), "-o", p.out / "part"),
    ),
    "train": ("experiment_spec.txt", 2_000, lambda p: ("-e", p.spec, "-r", p.out)),
    "prune": ("model.tlt", 5_000, lambda p: ("-m", p.model, "-o", p.out / "model.tlt", "-pth", 0.1)),
    "evaluate": (
        "found.json",
        100,
        lambda p: ("-e", p.spec, "-m", p.onnx, "--json", p.out / "found.json"),
    ),
    "evaluate events": ("status.json", 100, lambda p: ("-e", p.spec, "-m", p.onnx, "-r", p.out)),
    "export": ("model.onnx", 2_000, lambda p: ("-m", p.model, "-o", p.out / "model.onnx")),
    "calibration_tensorfile": ("images.h5", 60_000, lambda p: ("-e", p.spec, "-o", p.out / "images.h5", "-m", 4)),
    "inference": (
        "labels/000000.txt",
        2_000,
        lambda p: ("-e", p.workspace.spec("infer"), "-i", p.images, "-m", p.onnx, "-r", p.out),
    ),
    "compare": ("models/small/model.onnx", 2_000, lambda p: ("-e", p.spec, "-m", p.model, "-o", p.out)),
    "check": ("found.json", 2_000, lambda p: ("-e", p.spec, "--json", p.out / "found.json")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_there_is_no_room_for(place: Place, case: str) -> None:
    name, limit, arguments = CASES[case]
    former, replaces = place.out / name, case != "calibration_tensorfile"  # which wants a name that is free
    former.parent.mkdir(parents=True)
    if replaces:
        former.write_text("former\n")
    with small_files(limit):
        outcome = qatkit(case.split()[0], *arguments(place))
    assert_refused(outcome, former)
    assert former.read_text() == "former\n" if replaces else not former.exists()
    assert not [path.name for path in place.out.rglob("*.tmp")]


def assert_refused(outcome: Outcome, path: Path) -> None:
    errors = [line for line in outcome.err.splitlines() if not line.startswith(("warning: ", "Epoch "))]
    assert errors == [f"error: {path}: cannot write: File too large"], outcome.err
    assert outcome.code == 5
