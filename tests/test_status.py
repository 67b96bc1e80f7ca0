from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qatkit import status
from qatkit.errors import DataError, EnvironmentProblem
from qatkit.status import StatusLog


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]


def test_no_folder_no_file() -> None:
    with pytest.raises(ValueError, match="bug"), status.run("prune", None) as log:
        log.write("RUNNING")
        raise ValueError("bug")


def test_lines_are_appended_each_with_its_own_values(tmp_path: Path) -> None:
    StatusLog(tmp_path / "new").write("STARTED", "train started.")
    StatusLog(tmp_path / "new").write("RUNNING", kpi={"mean average precision": 12.5})
    first, second = lines(tmp_path / "new")
    assert first.keys() == {"date", "time", "status", "verbosity", "message"}
    assert (first["status"], first["verbosity"], first["message"]) == ("STARTED", "INFO", "train started.")
    assert second.keys() == {"date", "time", "status", "verbosity", "kpi"}
    assert second["kpi"] == {"mean average precision": 12.5}


@pytest.mark.parametrize(
    "error, message",
    [
        (DataError("image.jpg: no such image"), "image.jpg: no such image"),
        (KeyError("conv1"), "KeyError: 'conv1'"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_failures_are_noted_and_passed_on(tmp_path: Path, error: BaseException, message: str) -> None:
    with pytest.raises(type(error)), status.run("prune", tmp_path) as log:
        log.succeed(kpi={"size": 1.0})
        raise error
    first, line = lines(tmp_path)
    assert first["status"] == "STARTED"
    assert (line["status"], line["verbosity"], line["message"]) == ("FAILURE", "ERROR", message)
    assert line.keys() == {"date", "time", "status", "verbosity", "message"}


def test_success(tmp_path: Path) -> None:
    with status.run("prune", tmp_path) as log:
        log.succeed(kpi={"size": 1.0}, categorical={"num_objects": {"car": 4}})
        assert len(lines(tmp_path)) == 1
    last = lines(tmp_path)[-1]
    assert (last["status"], last["verbosity"], last["message"]) == ("SUCCESS", "INFO", "prune finished.")
    assert (last["kpi"], last["categorical"]) == ({"size": 1.0}, {"num_objects": {"car": 4}})


def test_a_file_that_cannot_be_written_hides_no_failure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the cause"), status.run("prune", tmp_path):
        (tmp_path / "status.json").unlink()
        (tmp_path / "status.json").mkdir()
        raise DataError("the cause")
    with pytest.raises(EnvironmentProblem, match=r"status\.json: cannot write"), status.run("prune", tmp_path):
        pass
