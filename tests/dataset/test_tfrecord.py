from pathlib import Path

import pytest
import tensorflow as tf

from qatkit.dataset.tfrecord import write_records
from qatkit.errors import EnvironmentProblem

RECORD = {
    "frame/id": ["images/a"],
    "frame/width": [32],
    "target/object_class": ["car", "dog"],
    "target/occlusion": [0, 1],
    "target/coordinates_x1": [1.5, 2],
    "target/coordinates_y1": [],
}


def kinds(path: Path) -> list[dict[str, str]]:
    """Per record of `path`, key -> kind."""
    examples = [tf.train.Example.FromString(data.numpy()) for data in tf.data.TFRecordDataset(str(path))]
    return [{key: item.WhichOneof("kind") for key, item in one.features.feature.items()} for one in examples]


def test_no_records(tmp_path: Path) -> None:
    assert write_records(tmp_path / "a", []) == 0
    assert (tmp_path / "a").read_bytes() == b""


def test_the_key_decides_on_the_kind(tmp_path: Path) -> None:
    assert write_records(tmp_path / "a", [RECORD, RECORD]) == 2
    expected = {
        "frame/id": "bytes_list",
        "frame/width": "int64_list",
        "target/object_class": "bytes_list",
        "target/occlusion": "int64_list",
        "target/coordinates_x1": "float_list",
        "target/coordinates_y1": "float_list",
    }
    assert kinds(tmp_path / "a") == [expected] * 2


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        write_records(tmp_path / "none" / "a", [RECORD])
