"""TFRecord files of `tf.train.Example` with TAO's keys, written; `records` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from qatkit.dataset.example import Feature, serialize_example
from qatkit.dataset.record_file import write_record_file

Values: TypeAlias = Sequence[str] | Sequence[int] | Sequence[float]

_TEXT_KEYS = frozenset({"frame/id", "target/object_class", "point_cloud/id"})
_INTEGER_KEYS = frozenset({"frame/height", "frame/width", "target/occlusion"})


def write_records(path: Path, records: Iterable[Mapping[str, Values]]) -> int:
    """Write `records` to `path`, overwriting it; return how many there were.

    Each record maps TAO's keys to values. The key decides how they are stored (bytes, int64 or float), because an
    empty list cannot say. Raises EnvironmentProblem when the file system refuses.
    """
    examples = ({key: _to_feature(key, values) for key, values in record.items()} for record in records)
    return write_record_file(path, map(serialize_example, examples))


def _to_feature(key: str, values: Values) -> Feature:
    if key in _TEXT_KEYS:
        return Feature("bytes", [str(value).encode() for value in values])
    if key in _INTEGER_KEYS:
        return Feature("int64", np.asarray(values, np.int64))
    return Feature("float", np.asarray(values, np.float32))
