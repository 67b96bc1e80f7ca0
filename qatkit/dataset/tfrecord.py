"""TFRecord files of `tf.train.Example` with TAO's keys, written; `records` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import tensorflow as tf

from qatkit.errors import EnvironmentProblem

Feature: TypeAlias = Sequence[str] | Sequence[int] | Sequence[float]


def write_records(path: Path, records: Iterable[Mapping[str, Feature]]) -> int:
    """Write `records` to `path`, overwriting it; return how many there were.

    Each record maps TAO's keys to values. The key decides how they are stored (bytes, int64 or float), because an
    empty list cannot say. Raises EnvironmentProblem when the file system refuses.
    """
    count = 0
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                features = {key: _to_feature(key, values) for key, values in record.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString(deterministic=True))
                count += 1
    except tf.errors.OpError as error:
        raise EnvironmentProblem(f"{path}: cannot write: {_first_line(error.message)}") from error
    return count


_TEXT_KEYS = frozenset({"frame/id", "target/object_class", "point_cloud/id"})
_INTEGER_KEYS = frozenset({"frame/height", "frame/width", "target/occlusion"})


def _to_feature(key: str, values: Feature) -> tf.train.Feature:
    if key in _TEXT_KEYS:
        encoded = [str(value).encode() for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
    if key in _INTEGER_KEYS:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _first_line(message: str) -> str:
    return message.splitlines()[0] if message else "unknown error"
