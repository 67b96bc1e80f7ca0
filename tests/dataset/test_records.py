from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.dataset.records import concatenate, read_records, write_records
from qatkit.errors import DataError
from tests.support import golden_data

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


def test_concatenate(tmp_path: Path) -> None:
    assert concatenate([]).boxes.dtype == np.float32
    write_records(tmp_path / "a", [RECORD])
    both = concatenate([read_records(tmp_path / "a")] * 2)
    assert (len(both.ids), both.counts.tolist()) == (2, [2, 2])


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
        ({"target/coordinates_y2": [1.0]}, "'images/a' has not one float target/coordinates_y2 for each object"),
        ({"target/object_class": []}, "'images/a' has not one float target/coordinates_x1 for each object"),
    ],
)
def test_records_that_lack_something(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_records(tmp_path / "a", [{**RECORD, **change}])
    with pytest.raises(DataError, match=message):
        read_records(tmp_path / "a")


def serialized(**change: tf.train.Feature) -> bytes:
    """A record of one object by TensorFlow, some of its features changed."""
    features = {
        "frame/id": feature(bytes_list=[b"images/a"]),
        "frame/width": feature(int64_list=[32]),
        "frame/height": feature(int64_list=[24]),
        "target/object_class": feature(bytes_list=[b"car"]),
        **{f"target/coordinates_{key}": feature(float_list=[1.0]) for key in ("x1", "y1", "x2", "y2")},
    }
    renamed = {f"{part}/{key}": value for name, value in change.items() for part, key in [name.split("__")]}
    return tf.train.Example(features=tf.train.Features(feature={**features, **renamed})).SerializeToString()


def feature(**values: list[Any]) -> tf.train.Feature:
    kinds = {"bytes_list": tf.train.BytesList, "int64_list": tf.train.Int64List, "float_list": tf.train.FloatList}
    return tf.train.Feature(**{kind: kinds[kind](value=value) for kind, value in values.items()})


def write_raw(path: Path, *records: bytes) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frame__width": feature(int64_list=[-1])}, "frame/width is -1"),
        ({"frame__width": feature(int64_list=[2**31])}, "frame/width is 2147483648"),
        ({"frame__width": feature(float_list=[32.0])}, "it has 0 int64 values of frame/width instead of one"),
        ({"frame__id": feature(bytes_list=[b"a", b"b"])}, "it has 2 bytes values of frame/id instead of one"),
        ({"frame__id": feature(bytes_list=[b"\xff"])}, "frame/id is not UTF-8 text"),
        ({"target__object_class": feature(bytes_list=[b"\xff"])}, "target/object_class is not UTF-8 text"),
        ({"target__coordinates_x1": feature(float_list=[math.nan])}, "'images/a' has a coordinate that is no number"),
        ({"target__coordinates_x1": feature(int64_list=[1])}, "'images/a' has not one float target/coordinates_x1"),
    ],
)
def test_records_that_make_no_sense(tmp_path: Path, change: dict[str, tf.train.Feature], message: str) -> None:
    path = write_raw(tmp_path / "a", serialized(), serialized(**change))
    with pytest.raises(DataError, match=f"a: record 1 does not describe an image with boxes: {message}"):
        read_records(path)


def test_empty_lists_are_of_no_kind(tmp_path: Path) -> None:
    empty = {f"target__coordinates_{key}": feature(int64_list=[]) for key in ("x1", "y1", "x2")}
    record = serialized(target__object_class=feature(), target__coordinates_y2=tf.train.Feature(), **empty)
    assert read_records(write_raw(tmp_path / "a", record)).counts.tolist() == [0]


def test_not_an_example(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a: record 0 does not describe an image .* it is no tf\.train\.Example"):
        read_records(write_raw(tmp_path / "a", b"\x0f\x00"))


@given(st.integers(0, len(serialized()) - 1), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_any_record_is_read_or_refused(place: int, byte: int) -> None:
    """One byte of a record is another one, its checksum the right one."""
    whole = serialized()
    with tempfile.TemporaryDirectory() as folder:
        path = write_raw(Path(folder, "a"), whole[:place] + bytes([byte]) + whole[place + 1 :])
        try:
            records = read_records(path)
        except DataError as error:
            assert str(error).startswith(f"{path}: record 0 ") and str(error).isprintable()
        else:
            assert len(records.ids) == 1 and records.boxes.shape == (records.counts.sum(), 4)


def test_needs_no_tensorflow() -> None:
    code = "import sys, qatkit.dataset.frames; print({'tensorflow'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


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
