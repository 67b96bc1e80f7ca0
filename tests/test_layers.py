"""The order of the packages: each imports only from those below it, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import qatkit

ROOT = Path(qatkit.__file__).parent
LAYERS = (
    *(
        "__main__",
        "cli",
        "api",
        "workflow",
        "report",
        "analysis",
        "training",
        "evaluation",
        "engine",
        "keras",
        "export",
        "dataset",
    ),
    *("model", "quantization", "pruning", "detectnet", "graph", "spec"),
    *("processor", "status", "console", "files", "errors", "choices"),
)
# Library -> the packages and modules that may import it, anywhere in them.
HEAVY = {
    "tensorflow": {"keras", "training", "engine/keras"},
    "tf_keras": {"keras", "training", "engine/keras"},
    "tensorflow_model_optimization": {"keras"},
    "tensorrt": {"engine"},
    "pycuda": {"engine"},
    "google": {"spec", "dataset/example"},
}
MODULES = sorted(path for path in ROOT.rglob("*.py") if "generated" not in path.parts)


def imported(path: Path) -> set[str]:
    """Every module that `path` imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_from_below(path: Path) -> None:
    package = package_of(path)
    if package == "__init__":
        return
    below = LAYERS[LAYERS.index(package) :]
    used = {name.split(".")[1] for name in imported(path) if name.startswith("qatkit.")} - {"__version__"}
    assert used <= set(below), f"{package} must not import {sorted(used - set(below))}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    found = {name.split(".")[0] for name in imported(path)} & set(HEAVY)
    places = {package_of(path), path.relative_to(ROOT).with_suffix("").as_posix()}
    assert all(places & HEAVY[library] for library in found), f"imports {sorted(found)}"


@pytest.mark.parametrize("path", sorted((ROOT / "cli").glob("*.py")), ids=lambda path: path.name)
def test_cli_modules_are_light(path: Path) -> None:
    """At module level a subcommand imports nothing that takes long: --help must not wait for it."""
    tree = ast.parse(path.read_text())
    top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    top |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in top} <= {"click", "qatkit", *sys.stdlib_module_names}
    assert not {
        name for name in top if name.startswith("qatkit.") and name.split(".")[1] not in ("cli", "errors", "choices")
    }
