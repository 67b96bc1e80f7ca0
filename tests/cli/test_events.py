"""What every command tells: -v says what was decided and why, status.json how it went."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import qatkit, replaced, succeed
from tests.support.workspace import TRAINING, VALIDATION, Workspace


@pytest.fixture
def model(workspace: Workspace, small: Path) -> Path:
    return workspace.root / "small.tlt"


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]


def test_training(small: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.txt"
    spec.write_text(replaced(small.read_text(), ("num_epochs: 5", "num_epochs: 1")))
    out = succeed("train", "-e", spec, "-r", tmp_path / "results", "-v").out
    assert "Objects in the training data: person " in out and "Objects in the validation data: person " in out
    assert "  num_epochs: 1\n" in out
    assert "placement tensorrt: " in out and "added inside sum" in out
    first, *_, last = events(tmp_path / "results")
    assert (first["status"], first["message"]) == ("STARTED", "train started.")
    assert (last["status"], last["message"]) == ("SUCCESS", "train finished.")
    best = {"best epoch", "best mean average precision"}
    assert last["kpi"].keys() == {"size", "param_count", "mean average precision", *best}
    assert last["kpi"]["best epoch"] == 1
    assert re.search(r"^best: epoch 1, mAP \d+\.\d\d \(.*results/weights/model\.best\.tlt\)$", out, re.MULTILINE)
    assert "Objects in" not in succeed("train", "-e", spec, "-r", tmp_path / "results").out


def test_evaluation(small: Path, model: Path, tmp_path: Path) -> None:
    out = succeed("evaluate", "-e", small, "-m", model, "-r", tmp_path, "-v").out
    assert "person: algorithm NMS, coverage_threshold 0.01, " in out and "; min_overlap 0.5, " in out
    first, last = events(tmp_path)
    assert (first["message"], last["status"]) == ("evaluate started.", "SUCCESS")
    assert last["categorical"]["average_precision"].keys() == {"person", "bag"}


def test_export(model: Path, tmp_path: Path) -> None:
    succeed("export", "-m", model, "-o", tmp_path / "model.onnx", "--results_dir", tmp_path / "results")
    first, last = events(tmp_path / "results")
    assert (first["status"], first["message"], last["status"]) == ("STARTED", "export started.", "SUCCESS")
    assert last["kpi"] == {"size": (tmp_path / "model.onnx").stat().st_size / 2**20}


def test_inference(workspace: Workspace, model: Path, tmp_path: Path) -> None:
    images = workspace.data / "val" / "images"
    flags = ("inference", "-e", workspace.spec("infer"), "-i", images, "-r", tmp_path, "-m", model)
    out = succeed(*flags, "-v").out
    assert all(f"{path.name}: " in out for path in images.iterdir())
    first, last = events(tmp_path)
    assert (first["message"], last["status"]) == ("inference started.", "SUCCESS")
    assert "000000.jpg: " not in succeed(*flags).out


def test_calibration_tensorfile(workspace: Workspace, small: Path, tmp_path: Path) -> None:
    for flags, count in (((), TRAINING), (("--use_validation_set",), VALIDATION)):
        path = tmp_path / f"{count}.tensorfile"
        lines = succeed("calibration_tensorfile", "-e", small, "-o", path, "-v", *flags).out.splitlines()
        assert len({line for line in lines if line.endswith(".jpg")}) == count


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setattr("qatkit.workflow.prune.prune", lambda *arguments: os.kill(os.getpid(), number))
    outcome = qatkit("prune", "-m", model, "-o", tmp_path / "pruned.tlt", "--results_dir", tmp_path / "results")
    assert outcome.code == code
    assert [event["status"] for event in events(tmp_path / "results")] == ["STARTED", "FAILURE"]
    assert events(tmp_path / "results")[-1]["message"] == "interrupted"
    assert not (tmp_path / "pruned.tlt").exists()
