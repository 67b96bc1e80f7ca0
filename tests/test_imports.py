"""Every module can be imported with what is installed: a library that no longer has a name shows here at once."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import qatkit

MODULES = sorted(module.name for module in pkgutil.walk_packages(qatkit.__path__, "qatkit."))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith(".__main__")])
def test_import(name: str) -> None:
    importlib.import_module(name)
