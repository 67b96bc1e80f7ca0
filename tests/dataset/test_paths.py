from pathlib import Path

import pytest

from qatkit.dataset.paths import resolve, with_expanded_names
from qatkit.errors import SpecError
from qatkit.spec import DatasetExportConfig


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


def test_variables(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("DATA_BASE_PATH", "~/base")
    assert resolve("$DATA/images") == Path("/data/images")
    assert resolve("records/*") == home / "base" / "records" / "*"
    monkeypatch.delenv("DATA")
    with pytest.raises(SpecError, match=r"\$DATA is not set"):
        resolve("${DATA}/images")


def test_names_below_the_root_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "train")
    kitti = {"image_dir_name": "$SET/images", "label_dir_name": "${SET}/labels", "partition_mode": "random"}
    found = with_expanded_names(
        DatasetExportConfig(kitti_config={**kitti, "kitti_sequence_to_frames_file": "~/map.json"})
    )
    assert found.kitti_config.image_dir_name == "train/images"
    assert found.kitti_config.label_dir_name == "train/labels"
    assert found.kitti_config.kitti_sequence_to_frames_file == f"{home}/map.json"
    coco = {"img_dir_names": ["$SET", "val"], "annotation_files": ["$SET.json", "val.json"]}
    given = DatasetExportConfig(coco_config=coco)
    found = with_expanded_names(given)
    assert list(found.coco_config.img_dir_names) == ["train", "val"]
    assert list(found.coco_config.annotation_files) == ["train.json", "val.json"]
    assert found.WhichOneof("convert_config_type") == "coco_config"
    assert given.coco_config.img_dir_names[0] == "$SET"  # as it was
    for name in ("coco_config", "kitti_config"):  # which of them there is decides
        monkeypatch.delenv("SET", raising=False)
        with pytest.raises(SpecError, match=r"\$SET is not set"):
            with_expanded_names(DatasetExportConfig(**{name: coco if name == "coco_config" else kitti}))
