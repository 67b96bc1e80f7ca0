"""TFRecord files of `tf.train.Example`: TAO's keys, written and read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qatkit.errors import DataError, EnvironmentProblem

Feature: TypeAlias = Sequence[str] | Sequence[int] | Sequence[float]

_COORDINATES = tuple(f"target/coordinates_{name}" for name in ("x1", "y1", "x2", "y2"))
_READ_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Records:
    """What training needs of N records with M objects in all.

    sizes: int32 [N, 2], width and height in pixels. counts: int64 [N], objects per record.
    boxes: float32 [M, 4], x1 y1 x2 y2 in pixels. class_names: [M] as stored.
    """

    ids: tuple[str, ...]
    sizes: NDArray[np.int32]
    counts: NDArray[np.int64]
    boxes: NDArray[np.float32]
    class_names: tuple[str, ...]


def read_records(path: Path) -> Records:
    """All records of one file, in order. A file of no bytes holds no records.

    Raises DataError when the file is no TFRecord file, is damaged, or lacks TAO's keys.
    """
    try:
        batches = [
            tf.io.parse_example(serialized, _features())
            for serialized in tf.data.TFRecordDataset(str(path)).batch(_READ_AT_ONCE)
        ]
        records = concatenate([_records(batch, path) for batch in batches])
    except tf.errors.DataLossError as error:
        raise DataError(f"{path}: not a TFRecord file, or damaged") from error
    except tf.errors.InvalidArgumentError as error:
        raise DataError(f"{path}: not records of images with boxes: {_first_line(error.message)}") from error
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot read: {_first_line(error.message)}") from error
    if not records.ids and path.stat().st_size:  # TensorFlow takes less than a record's head for the end
        raise DataError(f"{path}: not a TFRecord file, or damaged")
    return records


def concatenate(parts: Sequence[Records]) -> Records:
    """The records of all `parts`, one after the other."""
    empty = np.zeros
    return Records(
        ids=tuple(frame for part in parts for frame in part.ids),
        sizes=np.concatenate([empty((0, 2), np.int32), *(part.sizes for part in parts)]),
        counts=np.concatenate([empty(0, np.int64), *(part.counts for part in parts)]),
        boxes=np.concatenate([empty((0, 4), np.float32), *(part.boxes for part in parts)]),
        class_names=tuple(name for part in parts for name in part.class_names),
    )


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


def _features() -> dict[str, object]:
    ragged = tf.io.RaggedFeature
    return {
        "frame/id": tf.io.FixedLenFeature([], tf.string),
        "frame/width": tf.io.FixedLenFeature([], tf.int64),
        "frame/height": tf.io.FixedLenFeature([], tf.int64),
        "target/object_class": ragged(tf.string, row_splits_dtype=tf.int64),
        **{key: ragged(tf.float32, row_splits_dtype=tf.int64) for key in _COORDINATES},
    }


def _records(batch: Mapping[str, tf.Tensor], path: Path) -> Records:
    ids = tuple(value.decode() for value in batch["frame/id"].numpy())
    names = batch["target/object_class"]
    counts = names.row_lengths().numpy()
    for key in _COORDINATES:
        wrong = np.flatnonzero(batch[key].row_lengths().numpy() != counts)
        if wrong.size:
            raise DataError(f"{path}: record {ids[wrong[0]]!r} has not one {key} for each object")
    return Records(
        ids=ids,
        sizes=np.stack([batch["frame/width"].numpy(), batch["frame/height"].numpy()], axis=1).astype(np.int32),
        counts=counts,
        boxes=np.stack([batch[key].values.numpy() for key in _COORDINATES], axis=1),
        class_names=tuple(value.decode() for value in names.values.numpy()),
    )


def _first_line(message: str) -> str:
    return message.splitlines()[0] if message else "unknown error"
