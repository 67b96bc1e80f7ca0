from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.numpy import save

from qatkit.errors import EnvironmentProblem, ModelError, UsageError
from qatkit.training.checkpoint import (
    Progress,
    fingerprint,
    latest,
    load_checkpoint,
    newest_progress,
    remove_checkpoints,
    save_checkpoint,
)

ARRAYS = {
    "model/conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "iterations": np.array(7, np.int64),
    "empty": np.zeros((0, 4), np.float32),
}


def at(epoch: int, run: str = "run") -> Progress:
    return Progress(run, step=10 * epoch, epoch=epoch)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_no_checkpoint(tmp_path: Path) -> None:
    assert latest(tmp_path) is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    extra = {"early_stopping": {"best_cost": float("inf"), "annealing": False}}
    path = save_checkpoint(tmp_path, at(3), ARRAYS, extra)
    assert path == latest(tmp_path) == tmp_path / "model.epoch-3.ckpt"
    progress, arrays, found = load_checkpoint(path, "run")
    assert (progress, found) == (at(3), extra)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
        assert_array_equal(array, ARRAYS[name])


def test_the_run_of_the_newest(tmp_path: Path) -> None:
    assert newest_progress(tmp_path) is None
    save_checkpoint(tmp_path, at(1, "first"), ARRAYS)
    path = save_checkpoint(tmp_path, at(2, "second"), ARRAYS)
    assert newest_progress(tmp_path) == at(2, "second")
    path.write_bytes(path.read_bytes()[:20])
    assert newest_progress(tmp_path) is None


def test_the_newest_two_are_kept_counted_by_number(tmp_path: Path) -> None:
    for epoch in (8, 9, 10, 11):
        save_checkpoint(tmp_path, at(epoch), ARRAYS)
    assert names(tmp_path) == ["model.epoch-10.ckpt", "model.epoch-11.ckpt"]
    assert latest(tmp_path) == tmp_path / "model.epoch-11.ckpt"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = ["model.epoch-5.hdf5", "model.epoch-5.ckpt.bak", "xmodel.epoch-7.ckpt", ".model.epoch-9.ckpt.12.tmp"]
    for name in others:
        (tmp_path / name).touch()
    assert latest(tmp_path) is None
    save_checkpoint(tmp_path, at(1), ARRAYS)
    remove_checkpoints(tmp_path)
    assert names(tmp_path) == sorted(others)


def test_another_training_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, at(1), ARRAYS)
    with pytest.raises(UsageError, match=r"model\.epoch-1\.ckpt: .* another spec.*--restart"):
        load_checkpoint(path, "other")


def planned(epochs: int, run: str = "run", training: str = "training") -> Progress:
    """Four epochs of a training that was planned for `epochs`."""
    return Progress(run, step=40, epoch=4, training=training, epochs=epochs)


@pytest.mark.parametrize("epochs", [4, 8, 20])
def test_another_number_of_epochs_is_named_and_can_be_extended(tmp_path: Path, epochs: int) -> None:
    path = save_checkpoint(tmp_path, planned(10), ARRAYS)
    wanted = {"training": "training", "epochs": epochs}
    message = (
        rf"model\.epoch-4\.ckpt: this training was planned for 10 epochs, the spec now has {epochs} "
        rf"\(--extend goes on to {epochs}, --restart begins anew here; or another -r, with the old weights as"
    )
    with pytest.raises(UsageError, match=message):
        load_checkpoint(path, "other", **wanted)
    assert load_checkpoint(path, "other", **wanted, extend=True)[0] == planned(10)


@pytest.mark.parametrize("extend", [False, True])
def test_fewer_epochs_than_are_done_are_refused(tmp_path: Path, extend: bool) -> None:
    path = save_checkpoint(tmp_path, planned(10), ARRAYS)
    message = "planned for 10 epochs, the spec now has 3, and 4 are done already \\(--restart begins anew"
    with pytest.raises(UsageError, match=message):
        load_checkpoint(path, "other", training="training", epochs=3, extend=extend)


def test_only_the_number_of_epochs_may_differ(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, planned(10), ARRAYS)
    with pytest.raises(UsageError, match=r"with another spec, .* or flags beside num_epochs"):
        load_checkpoint(path, "other", training="another", epochs=20, extend=True)


def test_a_checkpoint_that_does_not_say_its_training_is_resumed_but_not_extended(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, at(4), ARRAYS)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    former = {
        key: value for key, value in json.loads(metadata["progress"]).items() if key in ("run", "step", "epoch")
    }
    path.write_bytes(save(ARRAYS, {**metadata, "progress": json.dumps(former)}))
    wanted = {"training": "training", "epochs": 20}
    assert load_checkpoint(path, "run", **wanted, extend=True)[0] == at(4)
    with pytest.raises(UsageError, match=r"did not record what --extend has to know .*--restart"):
        load_checkpoint(path, "other", **wanted, extend=True)
    with pytest.raises(UsageError, match=r"with another spec, data, model to start from or flags \("):
        load_checkpoint(path, "other", **wanted)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "no metadata", "wrong metadata"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = save_checkpoint(tmp_path, at(1), ARRAYS)
    content = {
        "empty": b"",
        "text": b"not a checkpoint",
        "cut": path.read_bytes()[:-8],
        "no metadata": save(ARRAYS),
        "wrong metadata": save(ARRAYS, {"progress": '{"run": "run"}', "extra": "{}"}),
    }
    path.write_bytes(content[damage])
    with pytest.raises(ModelError, match=r"model\.epoch-1\.ckpt: damaged checkpoint"):
        load_checkpoint(path, "run")


def test_a_disk_that_refuses_leaves_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_checkpoint(tmp_path, at(1), ARRAYS)
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        save_checkpoint(tmp_path, at(2), ARRAYS)
    assert names(tmp_path) == ["model.epoch-1.ckpt"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "other", [(), ("spec b", 10, ()), ("spec a", 11, ()), ("spec a", 10, ("conv1",)), ("spec a", 10)]
)
def test_fingerprint_tells_trainings_apart(other: tuple[object, ...]) -> None:
    assert fingerprint("spec a", 10, ()) == fingerprint("spec a", 10, ())
    assert fingerprint(*other) != fingerprint("spec a", 10, ())
