from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qatkit.errors import DataError, EnvironmentProblem
from qatkit.status import StatusLog


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]


def test_no_folder_no_file() -> None:
    status = StatusLog(None)
    status.write("STARTED")
    with pytest.raises(ValueError, match="bug"), status.failures():
        raise ValueError("bug")


def test_lines_are_appended_each_with_its_own_values(tmp_path: Path) -> None:
    StatusLog(tmp_path / "new").write("STARTED", "Training started.")
    StatusLog(tmp_path / "new").write("RUNNING", kpi={"mean average precision": 12.5})
    first, second = lines(tmp_path / "new")
    assert first.keys() == {"date", "time", "status", "verbosity", "message"}
    assert (first["status"], first["verbosity"], first["message"]) == ("STARTED", "INFO", "Training started.")
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
    with pytest.raises(type(error)), StatusLog(tmp_path).failures():
        raise error
    (line,) = lines(tmp_path)
    assert (line["status"], line["verbosity"], line["message"]) == ("FAILURE", "ERROR", message)


def test_success_is_not_noted_by_itself(tmp_path: Path) -> None:
    with StatusLog(tmp_path).failures():
        pass
    assert not (tmp_path / "status.json").exists()


def test_a_file_that_cannot_be_written_hides_no_failure(tmp_path: Path) -> None:
    status = StatusLog(tmp_path)
    (tmp_path / "status.json").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"status\.json: cannot write"):
        status.write("STARTED")
    with pytest.raises(DataError, match="the cause"), status.failures():
        raise DataError("the cause")
