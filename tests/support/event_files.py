"""What TensorBoard reads in event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.util import event_pb2


class Entry(NamedTuple):
    """plugin: scalars, histograms or images. value: a number, an array, or a list of bytes."""

    name: str
    step: int
    plugin: str
    value: Any


def read_events(folder: Path) -> list[Entry]:
    """All entries of all files in a folder, in their order."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event.FromString(record.numpy())
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                plain = array.tolist() if array.dtype == object or array.ndim == 0 else array
                found.append(Entry(value.tag, event.step, value.metadata.plugin_data.plugin_name, plain))
    return found
