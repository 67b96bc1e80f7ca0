from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qatkit.spec import load


@pytest.fixture(autouse=True)
def _fresh_warnings() -> Iterator[None]:
    """Warnings are printed once in a process; each test begins with none printed."""
    load._warn_once.cache_clear()
    yield


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text to `spec.txt` and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "spec.txt"
        path.write_text(text, "utf-8")
        return path

    return write
