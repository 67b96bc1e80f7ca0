"""Specs with data that they fit, in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qatkit.dataset.records import write_records
from tests.support.frames import noise, write_image
from tests.support.specs import EXPERIMENT

Box = tuple[float, float, float, float]
SIZE = (128, 96)  # of the images; the network of EXPERIMENT takes 64x48


def write_frames(root: Path, fold: int, frames: Mapping[str, Sequence[tuple[str, Box]]]) -> Path:
    """A record file of `fold` in root/records, and the images of its frames in root/images."""
    records = []
    for name, objects in frames.items():
        write_image(root / "images" / f"{name}.png", noise(*SIZE))
        columns = zip(*(box for _, box in objects)) if objects else [[]] * 4
        records.append(
            {
                "frame/id": [name],
                "frame/width": [SIZE[0]],
                "frame/height": [SIZE[1]],
                "target/object_class": [label for label, _ in objects],
                **{
                    f"target/coordinates_{key}": list(values)
                    for key, values in zip(("x1", "y1", "x2", "y2"), columns)
                },
            }
        )
    path = root / "records" / f"part-fold-{fold:03d}-of-002"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_records(path, records)
    return path


def experiment(root: Path, *replacements: tuple[str, str]) -> Path:
    """The spec EXPERIMENT for the data in `root`, images resized, parts of its text replaced."""
    text = EXPERIMENT.replace('"records/*"', f'"{root}/records/*"').replace('"images"', f'"{root}/images"')
    text = text.replace("output_image_channel: 3", "output_image_channel: 3 enable_auto_resize: true")
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    path = root / "spec.txt"
    path.write_text(text)
    return path
