import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from qatkit.cli.dataset_convert import dataset_convert
from qatkit.errors import DataError, SpecError
from tests.support.frames import LINE, kitti_folder

SPEC = """
kitti_config {{
  root_directory_path: "{root}"
  image_dir_name: "images"
  label_dir_name: "labels"
  image_extension: ".png"
  partition_mode: "random"
  num_partitions: 2
  num_shards: 2
  val_split: 40
}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec for five images with a car each; one of them without area."""
    frames = {f"{number}": [LINE.format("Car", 1, 2, 11, 12)] for number in range(5)}
    root = kitti_folder(tmp_path / "data", {**frames, "4": [LINE.format("Car", 1, 2, 1.5, 12)]})
    path = tmp_path / "spec.txt"
    path.write_text(SPEC.format(root=root))
    return path


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(dataset_convert, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_writes_records_and_shows_counts(spec: Path, tmp_path: Path) -> None:
    output = _run("-d", spec, "-o", tmp_path / "out" / "tfr", "-r", tmp_path / "results", "--tao_split")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "tfr-fold-000-of-002-shard-00000-of-00002",
        "tfr-fold-000-of-002-shard-00001-of-00002",
        "tfr-fold-001-of-002-shard-00000-of-00002",
        "tfr-fold-001-of-002-shard-00001-of-00002",
        "tfr_warning.json",
    ]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines()]
    assert ["000", "2", "2"] in rows and ["001", "3", "2"] in rows and ["all", "5", "4"] in rows
    assert ["Car", "car"] in rows
    assert "5 images in 4 files" in output
    assert "objects left out: no area 1" in output and "left out are listed in" in output
    events = [json.loads(line) for line in (tmp_path / "results" / "status.json").read_text().splitlines()]
    assert [event["status"] for event in events] == ["STARTED", "SUCCESS"]
    assert events[1]["kpi"] == {"num_images": 5}
    assert events[1]["categorical"] == {"num_objects": {"car": 4}}


def test_verbose_names_what_is_left_out(spec: Path, tmp_path: Path) -> None:
    assert "labels/4.txt_0 (1, 2, 1, 12)" in _run("-d", spec, "-o", tmp_path / "tfr", "-v")
    assert "labels/4.txt_0" not in _run("-d", spec, "-o", tmp_path / "tfr")


def test_a_prefix_without_a_folder(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _run("-d", spec, "-o", "tfr")
    assert len(list(tmp_path.glob("tfr-fold-*"))) == 4


def test_a_missing_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.txt"):
        _run("-d", tmp_path / "none.txt", "-o", tmp_path / "tfr")


def test_a_failure_is_in_the_status_file(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "labels" / "2.txt").unlink()
    with pytest.raises(DataError, match=r"labels/2\.txt"):
        _run("-d", spec, "-o", tmp_path / "tfr", "-r", tmp_path / "results")
    last = json.loads((tmp_path / "results" / "status.json").read_text().splitlines()[-1])
    assert last["status"] == "FAILURE" and "labels/2.txt" in last["message"]
    assert not list(tmp_path.glob("tfr*"))
