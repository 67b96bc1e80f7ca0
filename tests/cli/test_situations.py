"""The table in tests/dataset/README.md, row by row, as it is when somebody runs it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import situations_of_coco, situations_of_models, situations_of_pictures
from tests.support.commands import ROOT, Outcome, qatkit
from tests.support.situations import SITUATIONS

TABLE = ROOT / "tests" / "dataset" / "README.md"
MODULES = (situations_of_coco, situations_of_models, situations_of_pictures)  # imported, they add theirs
# What Python, Pillow and numpy say of themselves.
RAW = re.compile(
    r"Traceback|\[Errno|\w+Error\b|\w+Warning\b|DecompressionBomb|cannot identify|codec can't|NoneType|object has no|"
    r"not processed|invalid literal|could not convert|<_io|could not broadcast"
)
MANY = 37


@dataclass(frozen=True)
class Row:
    """A row of the table. message: with `…` for any text."""

    situation: str
    command: str
    code: int
    message: str

    @classmethod
    def of(cls, line: str) -> Row:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        situation, command, _, code, message = cells
        return cls(situation, command.strip("`"), int(code), message.strip("`"))

    def fits(self, line: str) -> bool:
        return re.fullmatch(".*".join(map(re.escape, self.message.split("…"))), line) is not None


ROWS = [Row.of(line) for line in TABLE.read_text().splitlines() if line.startswith("| ") and " | `" in line]


def test_every_situation_has_a_row_and_every_row_a_situation() -> None:
    assert len(ROWS) >= MANY
    assert sorted(row.situation for row in ROWS) == sorted(SITUATIONS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.situation)
def test_row(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DATA_BASE_PATH", raising=False)
    SITUATIONS[row.situation]()
    before = files()
    outcome = qatkit(*shlex.split(row.command.replace("~", "'~'")))
    seen = lines(outcome, tmp_path)
    assert outcome.code == row.code, outcome.err
    assert any(row.fits(line) for line in seen), "\n".join(seen)
    assert not RAW.search(outcome.err), outcome.err
    if row.code:
        assert row.message.startswith("error: ")
        assert_one_error(row, outcome)
    if row.command.startswith("dataset_convert") and row.code:
        assert files() == before


def assert_one_error(row: Row, outcome: Outcome) -> None:
    """One line besides warnings; `check` has one for each thing that is wrong, and counts them."""
    errors = [line for line in outcome.err.splitlines() if not line.startswith("warning: ")]
    assert all(line.startswith("error: ") for line in errors), outcome.err
    assert len(errors) == 1 or row.command.startswith("check"), outcome.err


def files() -> list[str]:
    """All files in the current folder and below."""
    return sorted(str(path) for path in Path().rglob("*") if not path.is_dir())


def lines(outcome: Outcome, folder: Path) -> list[str]:
    """What a command wrote, with DATA for its folder, and the cells of tables for their lines."""
    text = f"{outcome.out}\n{outcome.err}".replace(str(folder), "DATA")
    return [" ".join(line.replace("│", " ").split()) if line.startswith("│") else line for line in text.splitlines()]
