import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qatkit.dataset.tfrecord import concatenate, read_records, write_records
from qatkit.errors import DataError, EnvironmentProblem
from tests import golden_data

TOPIC = "11_tfrecord"
RECORD = {
    "frame/id": ["images/a"],
    "frame/width": [32],
    "frame/height": [24],
    "target/object_class": ["car", "dog"],
    "target/coordinates_x1": [1.5, 2.0],
    "target/coordinates_y1": [3.0, 4.0],
    "target/coordinates_x2": [5.0, 6.0],
    "target/coordinates_y2": [7.0, 8.0],
}
EMPTY = {key: [] if key.startswith("target/") else value for key, value in RECORD.items()}


def test_no_records(tmp_path: Path) -> None:
    assert write_records(tmp_path / "a", []) == 0
    assert (tmp_path / "a").read_bytes() == b""
    records = read_records(tmp_path / "a")
    assert (records.ids, records.boxes.shape, records.sizes.shape) == ((), (0, 4), (0, 2))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert write_records(tmp_path / "a", [RECORD, EMPTY, RECORD]) == 3
    records = read_records(tmp_path / "a")
    assert records.ids == ("images/a",) * 3
    assert records.sizes.tolist() == [[32, 24]] * 3
    assert records.counts.tolist() == [2, 0, 2]
    assert records.boxes.tolist() == [[1.5, 3, 5, 7], [2, 4, 6, 8]] * 2
    assert records.class_names == ("car", "dog", "car", "dog")


def test_more_records_than_are_read_at_once(tmp_path: Path) -> None:
    write_records(tmp_path / "a", [{**RECORD, "frame/width": [number]} for number in range(2500)])
    records = read_records(tmp_path / "a")
    assert records.sizes[:, 0].tolist() == list(range(2500))
    assert len(records.class_names) == 5000


def test_concatenate(tmp_path: Path) -> None:
    assert concatenate([]).boxes.dtype == np.float32
    write_records(tmp_path / "a", [RECORD])
    both = concatenate([read_records(tmp_path / "a")] * 2)
    assert (len(both.ids), both.counts.tolist()) == (2, [2, 2])


@pytest.mark.parametrize(
    "data, message",
    [
        (b"{}" * 100, "not a TFRecord file, or damaged"),
        (b"short", "not a TFRecord file, or damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match=f"a: {message}"):
        read_records(tmp_path / "a")


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    write_records(tmp_path / "a", [RECORD, RECORD])
    data = bytearray((tmp_path / "a").read_bytes())
    data[-20] ^= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read_records(tmp_path / "a")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frame/id": []}, "frame/id"),
        ({"frame/width": []}, "frame/width"),
        ({"target/coordinates_y2": [1.0]}, "'images/a' has not one target/coordinates_y2 for each object"),
        ({"target/object_class": []}, "'images/a' has not one target/coordinates_x1 for each object"),
    ],
)
def test_records_that_lack_something(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_records(tmp_path / "a", [{**RECORD, **change}])
    with pytest.raises(DataError, match=message):
        read_records(tmp_path / "a")


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        write_records(tmp_path / "none" / "a", [RECORD])
    with pytest.raises(DataError, match="cannot read"):
        read_records(tmp_path / "none" / "a")


@golden_data.parametrize(TOPIC)
def test_reads_files_of_tao(case: dict[str, Any]) -> None:
    folder = golden_data.ROOT / TOPIC / case["id"]
    for name, expected in json.loads((folder / "decoded.json").read_text()).items():
        records = read_records(folder / "out" / name)
        assert list(records.ids) == [record["frame/id"]["value"][0] for record in expected]
        names = [value for record in expected for value in record["target/object_class"]["value"]]
        assert list(records.class_names) == names
        for column, key in enumerate(("x1", "y1", "x2", "y2")):
            values = [value for record in expected for value in record[f"target/coordinates_{key}"]["value"]]
            assert records.boxes[:, column].tolist() == values
