"""What a training leaves for those who watch it, and that its weights do not depend on who watches."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from qatkit.model.open import open_model
from tests.support.commands import Outcome, replaced, succeed
from tests.support.event_files import Entry, read_events
from tests.support.services import Call, install
from tests.support.workspace import VALIDATION

EPOCHS = 2
VISUALIZER = """training_config {
  visualizer {
    enabled: true
    num_images: 3
    scalar_logging_frequency: 2
    wandb_config { key: "a secret" project: "detectors" name: "small" }
    clearml_config { project: "detectors" }
  }"""
FLAGS = ("--enable_determinism",)


def edited(small: Path, name: str, *more: tuple[str, str]) -> Path:
    path = small.with_name(f"{name}.txt")
    path.write_text(replaced(small.read_text(), ("num_epochs: 5", f"num_epochs: {EPOCHS}"), *more))
    return path


@pytest.fixture(scope="module")
def watched(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, list[Call]]:
    """A quantization-aware training that everybody watches."""
    results = tmp_path_factory.mktemp("watched")
    spec = edited(small, "watched", ("training_config {", VISUALIZER))
    with pytest.MonkeyPatch.context() as monkeypatch:
        calls = install(monkeypatch, "wandb")
        monkeypatch.setitem(sys.modules, "clearml", None)
        return results, succeed("train", "-e", spec, "-r", results, *FLAGS), calls


@pytest.fixture(scope="module")
def entries(watched: tuple[Path, Outcome, list[Call]]) -> list[Entry]:
    return read_events(watched[0] / "events")


def test_what_is_told(watched: tuple[Path, Outcome, list[Call]]) -> None:
    """All of the spec is used; a service whose package is not installed costs a warning, not the training."""
    told = watched[1].err
    assert "not used" not in told
    assert told.count("clearml is not installed here (pip install 'qatkit[clearml]')") == 1


def test_event_files(entries: list[Entry]) -> None:
    steps = {name: [entry.step for entry in entries if entry.name == name] for name in (one.name for one in entries)}
    assert steps["total_cost"] == [2, 4, 6, 8]  # four steps an epoch, two points
    assert steps["mean_cost_person_cov"] == steps["learning_rate"] == steps["total_cost"]
    for name in ("images_per_second", "validation_cost", "mean average precision (mAP) (in %)", "image/validation"):
        assert steps[name] == [4, 8], name
    ranges = [name for name in steps if name.startswith("qat_range/")]
    assert len(ranges) > 2
    for name in ("histogram/weight/a", "histogram/qat_range", *ranges):
        assert steps[name] == [4, 8], name


def test_validation_images(entries: list[Entry]) -> None:
    first, last = (entry.value for entry in entries if entry.name == "image/validation")
    assert len(first) == len(last) == 2 + min(3, VALIDATION)
    assert first[:2] == [b"640", b"480"]  # enlarged


def test_the_curve(watched: tuple[Path, Outcome, list[Call]]) -> None:
    with Image.open(watched[0] / "training_curve.png") as picture:
        assert (picture.format, picture.width) == ("PNG", 800)
        assert np.ptp(np.asarray(picture)) == 255


def test_status_lines_have_what_the_curve_shows(watched: tuple[Path, Outcome, list[Call]]) -> None:
    events = [json.loads(line) for line in (watched[0] / "status.json").read_text().splitlines()]
    epochs = [event for event in events if "graphical" in event]
    assert len(epochs) == EPOCHS
    assert all(event["loss_parts"].keys() == {"cov", "bbox"} for event in epochs)
    assert all(event["images_per_second"] > 0 and 0 <= event["waiting_for_input"] <= 1 for event in epochs)


def test_the_service_has_the_same_values(watched: tuple[Path, Outcome, list[Call]], entries: list[Entry]) -> None:
    calls = watched[2]
    assert calls[0] == ("wandb.login", (), {"key": "a secret"})
    name, _, settings = calls[1]
    assert (name, settings["project"]) == ("wandb.init", "detectors")
    assert "a secret" not in json.dumps(settings["config"])
    logged = [values for name, (values, *_), _ in (call for call in calls if call[0] == "wandb.init.log")]
    costs = [values["validation_cost"] for values in logged if "validation_cost" in values]
    written = [entry.value for entry in entries if entry.name == "validation_cost"]
    assert costs == pytest.approx(written, rel=1e-6)
    assert calls[-1] == ("wandb.init.finish", (), {"exit_code": 0})


def test_a_secret_is_in_no_file(watched: tuple[Path, Outcome, list[Call]]) -> None:
    results, outcome, _ = watched
    files = [path for path in results.rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert not [path for path in files if b"a secret" in path.read_bytes()]
    assert "a secret" not in outcome.out + outcome.err
    assert "detectors" in (results / "experiment_spec.txt").read_text()


def test_weights_do_not_depend_on_who_watches(
    watched: tuple[Path, Outcome, list[Call]], small: Path, tmp_path: Path
) -> None:
    succeed("train", "-e", edited(small, "alone"), "-r", tmp_path, *FLAGS)
    models = [open_model(folder / "weights" / "model.tlt") for folder in (watched[0], tmp_path)]
    assert models[0].ranges == models[1].ranges
    for name, array in models[0].graph.weights.items():
        assert_array_equal(array, models[1].graph.weights[name], err_msg=name)
    assert (tmp_path / "training_curve.png").exists() and not (tmp_path / "events").exists()
