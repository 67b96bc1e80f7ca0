import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from qatkit.dataset.example import Kind, parse_example, serialize_example
from qatkit.dataset.records import write_records
from qatkit.errors import EnvironmentProblem

RECORD = {
    "frame/id": ["images/a"],
    "frame/width": [32],
    "target/object_class": ["car", "dog", "ü" * 100],
    "target/occlusion": [0, 1, -1],
    "target/coordinates_x1": [1.5, 2, 0.1],
    "target/coordinates_y1": [],
}
LISTS = {"bytes": "bytes_list", "int64": "int64_list", "float": "float_list"}


def examples(path: Path) -> list[Any]:
    """The records of `path`, as TensorFlow reads them."""
    return [tf.train.Example.FromString(data.numpy()) for data in tf.data.TFRecordDataset(str(path))]


def test_no_records(tmp_path: Path) -> None:
    assert write_records(tmp_path / "a", []) == 0
    assert (tmp_path / "a").read_bytes() == b""


def test_tensorflow_reads_them_and_the_key_decides_on_the_kind(tmp_path: Path) -> None:
    assert write_records(tmp_path / "a", [RECORD, RECORD]) == 2
    kinds = {
        "frame/id": "bytes_list",
        "frame/width": "int64_list",
        "target/object_class": "bytes_list",
        "target/occlusion": "int64_list",
        "target/coordinates_x1": "float_list",
        "target/coordinates_y1": "float_list",
    }
    found = examples(tmp_path / "a")
    assert [{key: one.WhichOneof("kind") for key, one in item.features.feature.items()} for item in found] == [
        kinds
    ] * 2
    for item in found:
        values = {key: list(getattr(one, kinds[key]).value) for key, one in item.features.feature.items()}
        texts = {key: [text.decode() for text in values.pop(key)] for key in ("frame/id", "target/object_class")}
        assert {**texts, **values, "target/coordinates_x1": RECORD["target/coordinates_x1"]} == RECORD
        assert values["target/coordinates_x1"] == np.float32(RECORD["target/coordinates_x1"]).tolist()


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"b": ("bytes", []), "a": ("bytes", [b"", b"\0\xff", b"x" * 300])},
        {"f": ("float", []), "g": ("float", [0.5, math.inf])},
        {"i": ("int64", [0, 127, 128, 2**31, 2**63 - 1, -1, -(2**63)])},
        {"z": ("int64", []), "é": ("bytes", [b"1"])},
        {f"key/{number}": ("int64", range(number)) for number in range(200)},
    ],
)
def test_tensorflow_reads_the_same(features: dict[str, tuple[Kind, Sequence[Any]]]) -> None:
    message = tf.train.Example()
    for key, (kind, values) in features.items():
        entry = getattr(message.features.feature[key], LISTS[kind])
        entry.SetInParent()
        entry.value.extend(values)
    data = serialize_example(features)
    assert tf.train.Example.FromString(data) == message
    found = parse_example(data, {key: kind for key, (kind, _) in features.items()})
    assert found == {key: list(values) for key, (_, values) in features.items()}


def test_the_bytes_are_those_of_tensorflow(tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        write_records(tmp_path / "b", [RECORD, RECORD])
        for example in examples(tmp_path / "b"):
            writer.write(example.SerializeToString(deterministic=True))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot write: No such file"):
        write_records(tmp_path / "none" / "a", [RECORD])


def test_a_thousand_records_take_no_time_to_speak_of(tmp_path: Path) -> None:
    objects = {f"target/{name}": [float(number) for number in range(20)] for name in ("a", "b", "c", "d", "e", "f")}
    began = time.process_time()
    write_records(tmp_path / "a", [{**RECORD, **objects}] * 1000)
    assert time.process_time() - began < 2
