"""Images on which networks differ."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qatkit.analysis.differences import Sightings
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout
from qatkit.report.pictures import EXTRA, LABEL, MISSED, SAME, Network, gallery
from tests.support.detections import seen

A, B, LABELLED = (10.0, 10.0, 40.0, 40.0), (60.0, 10.0, 90.0, 40.0), (20.0, 50.0, 60.0, 80.0)
LAYOUT = ImageLayout(120, 90, auto_resize=True)


@pytest.fixture
def frames(tmp_path: Path) -> FrameTable:
    """Three grey images of twice the network's size, with one label each."""
    paths = [str(tmp_path / f"{name}.png") for name in "abc"]
    for path in paths:
        Image.new("L", (240, 180), 90).save(path)
    return FrameTable(
        classes=("car",),
        image_paths=tuple(paths),
        sizes=np.full((3, 2), (240, 180), np.int32),
        boxes=np.full((3, 4), LABELLED, np.float32) * 2,
        class_ids=np.zeros(3, np.int32),
        row_splits=np.arange(4),
        weights=np.ones(3, np.float32),
        sources=np.zeros(3, np.int32),
        upright=np.zeros(3, np.bool_),
    )


def near(jpeg: bytes, color: tuple[int, int, int]) -> np.ndarray:
    """[h, w] which pixels have about that colour; compression blurs it."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)), np.int32)
    return (np.abs(pixels - color) < 60).all(axis=2)


def network(title: str, *items: tuple[int, int, tuple[float, ...]]) -> Network:
    found: Sightings = seen(*items)
    return Network(title, found)


def test_nothing_to_show(frames: FrameTable) -> None:
    same = [network(name, (0, 0, A)) for name in ("fp32", "ptq")]
    assert gallery(same[0], same[1:], frames, LAYOUT, 4).comparisons == ()


def test_the_most_different_first(frames: FrameTable) -> None:
    reference = network("fp32", (0, 0, A), (1, 0, A), (2, 0, A), (2, 0, B))
    others = [network("ptq", (0, 0, A), (1, 0, B)), network("qat", (0, 0, A), (1, 0, A), (2, 0, A))]
    found = gallery(reference, others, frames, LAYOUT, 4)
    # c: ptq misses two, qat one; b: ptq has one extra and misses one; a: no difference.
    assert [comparison.file for comparison in found.comparisons] == ["c.png", "b.png"]
    assert [panel.title for panel in found.comparisons[0].panels] == ["Labels", "fp32", "ptq", "qat"]
    assert [panel.note for panel in found.comparisons[1].panels] == [
        *("1 labelled", "1 found", "1 found, 1 extra, 1 missed", "1 found, 0 extra, 0 missed"),
    ]
    assert len(gallery(reference, others, frames, LAYOUT, 1).comparisons) == 1


def test_boxes_are_drawn_where_they_are(frames: FrameTable) -> None:
    reference, other = network("fp32", (0, 0, A)), network("ptq", (0, 0, B))
    (comparison,) = gallery(reference, [other], frames, LAYOUT, 1).comparisons
    labels, expected, found = comparison.panels
    assert labels.size == (480, 360)
    for panel, color, box in (
        (labels, LABEL, LABELLED),
        (expected, SAME, A),
        (found, EXTRA, B),
        (found, MISSED, A),
    ):
        # The line at the bottom, below the text, four times as large as in the network's input.
        x1, _, x2, y2 = (int(4 * value) for value in box)
        drawn = near(panel.jpeg, color)
        assert drawn[y2 - 3 : y2, x1 + 4 : x2 - 4].mean() > 0.6
        assert not drawn[y2 + 4 :].any()
    assert not near(expected.jpeg, EXTRA).any() and not near(expected.jpeg, MISSED).any()
