from pathlib import Path

import pytest

from qatkit.dataset.paths import resolve


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and an empty current folder beside it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATA_BASE_PATH", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_absolute_is_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_BASE_PATH", "/base")
    assert resolve("/data/images") == Path("/data/images")
    assert resolve("~/images") == home / "images"


def test_relative_is_below_data_base_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("images").mkdir()
    monkeypatch.setenv("DATA_BASE_PATH", "/base")
    assert resolve("images") == Path("/base/images")


def test_without_it_the_current_folder_goes_first(home: Path) -> None:
    (home / "datasets" / "images").mkdir(parents=True)
    assert resolve("images/*.png") == home / "datasets" / "images" / "*.png"
    Path("images").mkdir()
    assert resolve("images/*.png") == Path.cwd() / "images" / "*.png"


@pytest.mark.parametrize("path", ["", "nowhere/images", "~no-such-user/images", "x" * 300])
def test_what_is_nowhere_is_looked_for_here(home: Path, path: str) -> None:
    assert resolve(path) == Path.cwd() / path
