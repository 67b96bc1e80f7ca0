"""Where a training keeps its decoded images, by what they take and what is free."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatkit.choices import ImageCache
from qatkit.dataset.pixel_cache import Cache
from qatkit.training.caching import available_memory, choose

FOLDER = Path("results/decoded")
DISK = (Cache(file=FOLDER / "training"), Cache(file=FOLDER / "validation"))


@pytest.mark.parametrize(
    ("wanted", "needed", "memory", "disk", "expected"),
    [
        ("auto", (60, 40), 200, 0, (Cache(60), Cache(40))),  # half of the memory
        ("auto", (60, 41), 200, 202, DISK),  # half of the disk
        ("auto", (60, 41), 200, 201, (Cache(60), Cache(40))),  # neither: as much as half of the memory holds
        ("auto", (150, 40), 200, 0, (Cache(100), Cache(0))),
        ("auto", (60, 40), 0, 1000, DISK),  # nothing tells how much memory there is
        ("ram", (150, 40), 200, 1000, (Cache(100), Cache(0))),
        ("disk", (6, 4), 200, 1000, DISK),
        ("disk", (600, 400), 200, 10, DISK),
        ("none", (6, 4), 200, 1000, (Cache(), Cache())),
    ],
)
def test_choice(
    wanted: ImageCache, needed: tuple[int, int], memory: int, disk: int, expected: tuple[Cache, Cache]
) -> None:
    assert choose(wanted, needed, FOLDER, memory, disk) == expected


def test_what_does_not_fit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    choose("ram", (3 * 10**9, 10**9), FOLDER, 4 * 10**9, 0)
    assert "kept in memory (4 GB; 50% of them fit, the others are decoded each time)" in capsys.readouterr().out
    choose("disk", (3 * 10**9, 10**9), FOLDER, 0, 2 * 10**9)
    assert "results/decoded: 2 GB are free" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "expected"), [("max", 3072), ("2000", 1500), ("9000", 3072), (None, 3072)])
def test_available_memory(tmp_path: Path, limit: str | None, expected: int) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   3 kB\n")
    if limit:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("500\n")
    assert available_memory(tmp_path / "meminfo", tmp_path) == expected


def test_nothing_tells_the_memory(tmp_path: Path) -> None:
    assert available_memory(tmp_path / "meminfo", tmp_path) == 0
