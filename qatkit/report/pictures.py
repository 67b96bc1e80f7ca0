"""The images on which networks differ the most, side by side."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qatkit.analysis.differences import Sightings, best_thresholds, differences, sightings, unmatched
from qatkit.dataset.batches import network_boxes
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, load_pixels
from qatkit.detectnet.clustering import Detections
from qatkit.evaluation.evaluate import Result
from qatkit.report.drawing import Color, DrawnBox, draw_boxes
from qatkit.report.rows import Row, reference_of, title

LABEL: Color = (0, 200, 83)
SAME: Color = (64, 156, 255)
EXTRA: Color = (255, 149, 0)
MISSED: Color = (255, 45, 170)

_WIDTH = 480  # pixels of a panel; a page shows several side by side, so lines and text are large
_LINE = 2
_TEXT = 16
_QUALITY = 82

_PICTURES = 4  # per FP32 network in the page


@dataclass(frozen=True)
class Network:
    """What a network sees on all frames; title: what it is called."""

    title: str
    seen: Sightings


@dataclass(frozen=True)
class Panel:
    """One image with boxes. title: whose boxes. note: how many, in words. jpeg: the file; size: width, height."""

    title: str
    note: str
    jpeg: bytes
    size: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """One image of the data set as all networks see it. file: its name."""

    file: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Gallery:
    """The images on which the networks derived from one FP32 network differ from it; empty where none does."""

    reference: str
    comparisons: tuple[Comparison, ...]


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


def gallery(
    reference: Network, others: Sequence[Network], frames: FrameTable, layout: ImageLayout, count: int
) -> Gallery:
    """At most `count` images, those with the most boxes that only `reference` or only another network has first."""
    total = np.sum([differences(other.seen, reference.seen, len(frames)) for other in others], axis=0)
    order = np.argsort(-total, kind="stable")[:count]
    chosen = [int(frame) for frame in order if total[frame]]
    return Gallery(reference.title, tuple(_comparison(reference, others, frames, layout, one) for one in chosen))


def _comparison(
    reference: Network, others: Sequence[Network], frames: FrameTable, layout: ImageLayout, frame: int
) -> Comparison:
    picture = Image.fromarray(load_pixels(frames.image(frame), layout).squeeze()).convert("RGB")
    expected = _of_frame(reference.seen, frame)
    labels = _labels(frames, layout, frame)
    panels = [
        _panel("Labels", f"{len(labels)} labelled", picture, _plain(labels, LABEL)),
        _panel(reference.title, f"{len(expected)} found", picture, _plain(expected.boxes, SAME)),
        *(_compared(other, expected, picture, frames.classes, frame) for other in others),
    ]
    return Comparison(Path(frames.image_paths[frame]).name, tuple(panels))


def _compared(other: Network, expected: Sightings, picture: Image.Image, classes: Sequence[str], frame: int) -> Panel:
    """What `other` sees: the same as expected, more, and not."""
    seen = _of_frame(other.seen, frame)
    extra, missed = unmatched(seen, expected), unmatched(expected, seen)
    boxes = [
        *_plain(seen.boxes[~extra], SAME),
        *_named("+", seen.select(extra), classes, EXTRA),
        *_named("-", expected.select(missed), classes, MISSED),
    ]
    note = f"{len(seen)} found, {extra.sum()} extra, {missed.sum()} missed"
    return _panel(other.title, note, picture, boxes)


def _of_frame(seen: Sightings, frame: int) -> Sightings:
    return seen.select(seen.frames == frame)


def _labels(frames: FrameTable, layout: ImageLayout, frame: int) -> NDArray[np.float32]:
    """The labelled boxes [n, 4] in pixels of the network's input."""
    boxes, _ = frames.objects(frame)
    return network_boxes(boxes, frames.sizes[[frame] * len(boxes)], layout)


def _plain(boxes: NDArray[np.float32], color: Color) -> list[DrawnBox]:
    return [DrawnBox((x1, y1, x2, y2), color, line_width=_LINE) for x1, y1, x2, y2 in boxes.tolist()]


def _named(sign: str, seen: Sightings, classes: Sequence[str], color: Color) -> list[DrawnBox]:
    return [
        DrawnBox((x1, y1, x2, y2), color, f"{sign} {classes[index]} {confidence:.2f}", _LINE + 1)
        for (x1, y1, x2, y2), index, confidence in zip(seen.boxes.tolist(), seen.classes, seen.confidences)
    ]


def _panel(title: str, note: str, picture: Image.Image, boxes: Iterable[DrawnBox]) -> Panel:
    factor = _WIDTH / picture.width
    size = (_WIDTH, max(round(picture.height * factor), 1))
    canvas = picture.resize(size, Image.Resampling.BILINEAR)
    draw_boxes(canvas, [_scaled(box, factor) for box in boxes], _TEXT)
    content = io.BytesIO()
    canvas.save(content, "JPEG", quality=_QUALITY, optimize=True)
    return Panel(title, note, content.getvalue(), size)


def _scaled(box: DrawnBox, factor: float) -> DrawnBox:
    x1, y1, x2, y2 = (value * factor for value in box.box)
    return DrawnBox((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), box.color, box.text, box.line_width)
