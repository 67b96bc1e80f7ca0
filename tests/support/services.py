"""Stand-ins for the packages of Weights & Biases and of ClearML: they write down how they are called."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class Recorder:
    """Any attribute is a function that notes its call, and returns what has its own attributes."""

    def __init__(self, name: str, calls: list[Call]) -> None:
        self._name = name
        self._calls = calls

    def __getattr__(self, name: str) -> Recorder:
        if name.startswith("__"):
            raise AttributeError(name)
        return Recorder(f"{self._name}.{name}", self._calls)

    def __call__(self, *arguments: Any, **named: Any) -> Recorder:
        self._calls.append((self._name, arguments, named))
        return self


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[Call]:
    """Have `import NAME` find a stand-in; return the list of calls that will be noted."""
    calls: list[Call] = []
    for name in names:
        module = ModuleType(name)
        module.__getattr__ = lambda attribute, name=name: Recorder(name, calls).__getattr__(attribute)  # type: ignore[method-assign]
        monkeypatch.setitem(sys.modules, name, module)
    return calls
