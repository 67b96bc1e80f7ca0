from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qatkit.errors import EnvironmentProblem, ModelError
from qatkit.model.file import Model
from qatkit.model.open import open_model
from qatkit.training.best import Best, BestModel
from tests.support.models import float_model


class Training:
    """A run in `folder`: its network tells after how many epochs it was read."""

    def __init__(self, folder: Path, run: str = "run", name: str = "model", **more: Any) -> None:
        self.epoch = 0
        self.kept = BestModel(folder / "weights", name, run, self._read, **more)

    def _read(self) -> Model:
        model = float_model()
        weights = {name: np.full_like(array, self.epoch) for name, array in model.graph.weights.items()}
        return replace(model, graph=replace(model.graph, weights=weights))

    def validate(self, *found: float) -> None:
        for map in found:
            self.epoch += 1
            self.kept.offer(self.epoch, map)


def kept(folder: Path, name: str = "model", key: str = "") -> float:
    """The epoch of the model that was kept."""
    weights = open_model(folder / "weights" / f"{name}.best.tlt", key).graph.weights
    return float(next(iter(weights.values())).flat[0])


@pytest.mark.parametrize(
    "found, best",
    [
        ([0.0], Best(1, 0.0)),  # nothing was found, but there is a model
        ([10.0, 30.0, 20.0], Best(2, 30.0)),
        ([10.0, 30.0, 30.0], Best(2, 30.0)),  # of equal ones the first
        ([30.0, 30.000001], Best(2, 30.000001)),
    ],
)
def test_the_best_is_kept(tmp_path: Path, found: list[float], best: Best) -> None:
    training = Training(tmp_path)
    assert training.kept.best is None
    training.validate(*found)
    assert training.kept.best == best
    assert kept(tmp_path) == best.epoch
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == ["model.best.json", "model.best.tlt"]


def test_it_is_told_in_a_line() -> None:
    assert str(Best(7, 81.203)) == "best: epoch 7, mAP 81.20"


def test_a_run_that_goes_on_knows_it(tmp_path: Path) -> None:
    """Also where its checkpoint is older: what comes again is no better."""
    Training(tmp_path).validate(10.0, 30.0, 20.0)
    again = Training(tmp_path)
    assert again.kept.best == Best(2, 30.0)
    again.validate(10.0, 30.0, 20.0)
    assert (again.kept.best, kept(tmp_path)) == (Best(2, 30.0), 2)
    again.validate(40.0)
    assert (again.kept.best, kept(tmp_path)) == (Best(4, 40.0), 4)


def test_that_of_another_training_or_name_is_not_counted(tmp_path: Path) -> None:
    Training(tmp_path).validate(30.0)
    assert Training(tmp_path, name="other").kept.best is None
    another = Training(tmp_path, run="another")
    assert another.kept.best is None
    another.validate(10.0)
    assert Training(tmp_path, run="another").kept.best == Best(1, 10.0)


@pytest.mark.parametrize("damage", ["no model", "another model", "no record", "half a record", "another record"])
def test_half_of_a_pair_is_not_counted(tmp_path: Path, damage: str) -> None:
    """As a kill between the two leaves it."""
    Training(tmp_path).validate(30.0)
    model, record = (tmp_path / "weights" / f"model.best.{ending}" for ending in ("tlt", "json"))
    {
        "no model": model.unlink,
        "another model": lambda: model.write_bytes(b"another"),
        "no record": record.unlink,
        "half a record": lambda: record.write_text(record.read_text()[:20]),
        "another record": lambda: record.write_text("[1]"),
    }[damage]()
    training = Training(tmp_path)
    assert training.kept.best is None
    training.validate(10.0)
    assert (Training(tmp_path).kept.best, kept(tmp_path)) == (Best(1, 10.0), 1)


def test_a_training_that_begins_anew_forgets_it(tmp_path: Path) -> None:
    Training(tmp_path).validate(30.0)
    training = Training(tmp_path)
    training.kept.forget()
    assert list((tmp_path / "weights").iterdir()) == []
    training.validate(10.0)
    assert training.kept.best == Best(1, 10.0)


def test_the_file_has_the_key_of_the_final_model(tmp_path: Path) -> None:
    Training(tmp_path, key="secret").validate(30.0)
    assert kept(tmp_path, key="secret") == 1
    with pytest.raises(ModelError):
        kept(tmp_path, key="wrong")


def test_of_several_processes_one_writes_and_all_read(tmp_path: Path) -> None:
    training = Training(tmp_path, saves=False)
    training.validate(30.0)
    assert training.kept.best == Best(1, 30.0)
    assert list(tmp_path.iterdir()) == []
    training.kept.forget()


def test_a_full_disk_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tmp_path)
    training.validate(30.0)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(EnvironmentProblem, match=r"model\.best\.tlt: cannot write"):
        patched.setattr(Path, "write_bytes", full)
        training.validate(40.0)
    assert (Training(tmp_path).kept.best, kept(tmp_path)) == (Best(1, 30.0), 1)
