"""Why INT8 models differ from their FP32 models: the parts of a comparison beside mAP, speed and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qatkit.analysis.differences import best_thresholds, sightings
from qatkit.analysis.tensor_error import TensorError, layer_errors
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, load_pixels, to_float
from qatkit.detectnet.clustering import Detections
from qatkit.evaluation.evaluate import Result
from qatkit.keras.batches import data_errors, evaluation_batches
from qatkit.report.pictures import Gallery, Network, gallery
from qatkit.report.rows import Row, reference_of, title
from qatkit.spec import Experiment

# Images per FP32 network in the page.
_PICTURES = 4


def sample(frames: FrameTable, count: int) -> FrameTable:
    """At most `count` frames, evenly spread."""
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return frames.subset(chosen.tolist())


def load_images(frames: FrameTable, layout: ImageLayout) -> list[NDArray[np.float32]]:
    """The images of `frames` as batches of one, [1, H, W, C] in 0..1."""
    return [to_float(load_pixels(path, layout))[None] for path in frames.image_paths]


def load_batches(frames: FrameTable, spec: Experiment) -> list[dict[str, NDArray[Any]]]:
    """The labelled images of `frames` in memory, one by one, as evaluation sees them."""
    with data_errors():
        batches = evaluation_batches(frames, spec.augmentation_config, 1)
        return [{key: np.asarray(value) for key, value in batch.items()} for batch in batches]


def measured_layers(clean: Path, explicit: Path, images: Sequence[NDArray[np.float32]]) -> list[dict[str, Any]]:
    """The error of every tensor of an exported pair, as JSON values."""
    return [_as_json(error) for error in layer_errors(onnx.load(clean), onnx.load(explicit), images)]


def _as_json(error: TensorError) -> dict[str, Any]:
    return {"layer": error.layer, **asdict(error), "cause": error.cause}


def galleries(
    rows: Sequence[Row],
    results: Sequence[Result],
    detections: Sequence[Sequence[Mapping[int, Detections]]],
    frames: FrameTable,
    layout: ImageLayout,
) -> list[Gallery]:
    """For each FP32 row with INT8 rows that come from it, the images on which they differ the most.

    rows: of "models"; results and detections, frame by frame, belong to them. What counts is what is at least as
    confident as the FP32 network is where its F1 is best: in a deployment the threshold stays.
    """
    shown = []
    for at, row in enumerate(rows):
        derived = [other for other in range(len(rows)) if other != at and reference_of(rows, rows[other]) is row]
        if derived:
            thresholds = best_thresholds(results[at])
            networks = [Network(title(rows[one]), sightings(detections[one], thresholds)) for one in (at, *derived)]
            shown.append(gallery(networks[0], networks[1:], frames, layout, _PICTURES))
    return shown
