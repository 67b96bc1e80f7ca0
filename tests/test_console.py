from __future__ import annotations

import io

import pytest
from rich.console import Console

from qatkit import console
from qatkit.console import info, info_names, table, track, warn

LONG = "x" * 500


def test_lines_of_text_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    info(f"[bold]not markup[/bold] {LONG}")
    warn(f"[red] {LONG}")
    captured = capsys.readouterr()
    assert captured.out == f"[bold]not markup[/bold] {LONG}\n"
    assert captured.err == f"warning: [red] {LONG}\n"


@pytest.mark.parametrize(
    "names, verbose, out",
    [
        ("", False, ""),
        ("", True, ""),
        ("a", False, "these: a\n"),
        ("abc", False, "these: a, b, c\n"),
        ("abcde", False, "these: a, b, c, and 2 more (-v names them)\n"),
        ("abcde", True, "these:\n  a\n  b\n  c\n  d\n  e\n"),
    ],
)
def test_names(names: str, verbose: bool, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    info_names("these", list(names), verbose=verbose)
    assert capsys.readouterr().out == out


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    table(["class", "AP"], [["person", 12.5], [LONG[:40], "[n/a]"]], title="[title]")
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert rows == [["person", "12.5"], [LONG[:40], "[n/a]"]]
    assert lines[0].strip() == "[title]"
    assert next(line for line in lines if "12.5" in line).endswith(" 12.5 │")


def test_a_table_that_is_wider_than_a_terminal_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table(["model", *(f"column {index}" for index in range(30))], [[LONG[:60], *range(30)]])
    out = capsys.readouterr().out
    assert LONG[:60] in out
    assert all(f"column {index}" in out for index in range(30))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_is_tracked_comes_through(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter(range(count)), "Reading", count)) == list(range(count))
    assert capsys.readouterr().err == ""  # quick work needs no report


def test_long_work_reports_in_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 4.0, 11.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    assert list(track("abcd", "Epoch 1/9", 4)) == list("abcd")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Epoch 1/9: 2 of 4\n")


def test_facts_are_told_with_the_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 4.0, 11.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    asked: list[int] = []
    facts = lambda: asked.append(1) or "[bold] 3 images/s"  # noqa: E731 - no markup in what is told
    assert list(track("abcd", "Epoch 1/9", 4, facts)) == list("abcd")
    assert capsys.readouterr().err == "Epoch 1/9: 2 of 4, [bold] 3 images/s\n"
    assert len(asked) == 1


def test_facts_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120)
    monkeypatch.setattr(console, "console", lambda stderr: terminal)
    assert list(track("ab", "Epoch 1/9", 2, lambda: "[3] images/s")) == ["a", "b"]
    assert "Epoch 1/9" in shown.getvalue() and "[3] images/s" in shown.getvalue()
    assert list(track("", "Nothing", 0, lambda: "never")) == []


def test_nothing_is_read_ahead() -> None:
    """The consumer decides when the next item is made: the training resumes at an exact step."""
    taken: list[int] = []

    def items() -> object:
        for index in range(5):
            taken.append(index)
            yield index

    for item in track(items(), "Epoch", 5):  # type: ignore[arg-type]
        assert taken[-1] == item
        if item == 2:
            break
    assert taken == [0, 1, 2]
