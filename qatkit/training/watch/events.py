"""TensorBoard's event files, written with TensorFlow alone: the package `tensorboard` only shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_BUCKETS = 30

_Metadata = tf.compat.v1.SummaryMetadata


class EventFiles:
    """Writes below `directory`; without one nothing is written, but all that is asked of it is done."""

    def __init__(self, directory: Path | None) -> None:
        self._writer = tf.summary.create_file_writer(str(directory)) if directory else tf.summary.create_noop_writer()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._write("scalars", {name: tf.constant(value, tf.float32) for name, value in values.items()}, step)

    def histograms(self, values: Mapping[str, NDArray[np.float32]], step: int) -> None:
        found = {name: tf.constant(buckets(value), tf.float64) for name, value in values.items()}
        self._write("histograms", found, step)

    def images(self, name: str, images: NDArray[np.uint8], step: int) -> None:
        height, width = images.shape[1:3]
        encoded = [tf.io.encode_png(image) for image in images]
        shown = tf.stack([tf.constant(str(width)), tf.constant(str(height)), *encoded])
        self._write("images", {name: shown}, step)

    def close(self, *, failed: bool) -> None:
        self._writer.close()

    def _write(self, plugin: str, values: Mapping[str, tf.Tensor], step: int) -> None:
        kind = "SCALAR" if plugin == "scalars" else "BLOB_SEQUENCE" if plugin == "images" else "TENSOR"
        metadata = _Metadata(plugin_data=_Metadata.PluginData(plugin_name=plugin), data_class=f"DATA_CLASS_{kind}")
        with self._writer.as_default(step=step):  # whose end writes to the file
            for name, value in values.items():
                tf.summary.write(name, value, metadata=metadata)


def buckets(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """[30, 3] left edge, right edge and count of equal parts of the range of the finite values."""
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite if finite.size else np.zeros(1), bins=_BUCKETS)
    return np.stack([edges[:-1], edges[1:], counts], axis=1).astype(np.float64)
