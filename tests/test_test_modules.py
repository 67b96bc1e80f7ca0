"""The tests among themselves: what two of them use is in `tests/support`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_what_tests_share_comes_from_support(path: Path) -> None:
    used = {name for name in imported(path) if name == "tests" or name.startswith("tests.")}
    assert not {name for name in used if not f"{name}.".startswith("tests.support.")}


def imported(path: Path) -> set[str]:
    """The modules that `path` imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names.add(node.module or "")
    return names
