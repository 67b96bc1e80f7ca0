"""Situations of COCO files (see `situations`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.situations import SIZE, Make, picture, rotated, situation, write

Row = dict[str, Any]

COCO = """
coco_config {
  root_directory_path: "."
  img_dir_names: ["images"]
  annotation_files: ["coco.json"]
  num_partitions: 1
  num_shards: [1]
}
"""
CAR = {"id": 1, "name": "Car"}


def image(identity: Any, name: str, **more: Any) -> Row:
    """A row of `images`."""
    return {"id": identity, "file_name": name, "width": SIZE[0], "height": SIZE[1], **more}


def box(identity: Any, of: Any, **more: Any) -> Row:
    """A row of `annotations`."""
    return {"id": identity, "image_id": of, "category_id": 1, "bbox": [4, 4, 30, 20], **more}


def coco(images: Sequence[Row], annotations: Sequence[Row], categories: Sequence[Row] = (CAR,)) -> None:
    """The annotation file with its images, and the spec coco.txt of its conversion."""
    for name in {row["file_name"] for row in images}:
        picture(f"images/{name}")
    content = {"images": images, "annotations": annotations, "categories": categories}
    write("coco.json", json.dumps(content))
    write("coco.txt", COCO)


def without(row: Row, key: str) -> Row:
    return {name: value for name, value in row.items() if name != key}


def second_row(row: Row) -> Make:
    """The annotation file has this annotation too."""
    return lambda: coco([image(7, "a.jpg")], [box(1, 7), row])


_OF_ANNOTATIONS: dict[str, Row] = {
    "COCO box with NaN": box(70, 7, bbox=[float("nan"), 4, 30, 20]),
    "COCO box with an infinite width": box(70, 7, bbox=[4, 4, float("inf"), 20]),
    "COCO annotation without bbox": without(box(70, 7), "bbox"),
    "COCO annotation without id": without(box(70, 7), "id"),
    "COCO annotation without category_id": without(box(70, 7), "category_id"),
    "COCO category_id that is not listed": box(70, 7, category_id=99),
    "COCO annotation of an image that is not listed": box(70, 99),
    "COCO crowd": box(70, 7, iscrowd=1),
    "COCO box without area": box(70, 7, bbox=[4, 4, 0, 0]),
    "COCO box with a negative size": box(70, 7, bbox=[30, 30, -20, -20]),
}
for _name, _row in _OF_ANNOTATIONS.items():
    situation(_name)(second_row(_row))


@situation("COCO image without id")
def _no_id() -> None:
    coco([image(7, "a.jpg"), without(image(8, "b.jpg"), "id")], [box(1, 7)])


@situation("two COCO images of one file")
def _one_file() -> None:
    coco([image(7, "a.jpg"), image(8, "a.jpg")], [box(1, 7), box(2, 8)])


@situation("one COCO id for two files", "one COCO id for two files, checked")
def _one_id() -> None:
    coco([image(7, "a.jpg"), image(7, "b.jpg")], [box(1, 7)])


@situation("COCO ids as texts")
def _text_ids() -> None:
    coco([image("7", "a.jpg")], [box("x", 7)], [{"id": "1", "name": "traffic light"}])


@situation("COCO annotations with the same id")
def _same_ids() -> None:
    coco([image(7, "a.jpg")], [box(1, 7)] * 3)


@situation("a.jpg and a.png, COCO")
def _same_stem() -> None:
    coco([image(7, "a.jpg"), image(8, "a.png")], [box(1, 7), box(2, 8)])


@situation("COCO size of another resolution", "COCO size of another resolution, checked")
def _size() -> None:
    coco([image(7, "a.jpg"), image(8, "b.jpg", width=1920, height=1080)], [box(1, 7), box(2, 8)])


@situation(
    "COCO size of the picture as shown",
    "COCO size of the picture as shown, applied",
    "COCO size of the picture as shown, checked",
)
def _shown() -> None:
    coco([image(7, "a.jpg"), image(8, "b.jpg", width=SIZE[1], height=SIZE[0])], [box(1, 7), box(2, 8)])
    rotated("images/b.jpg", 6)


@situation("COCO images that are not listed")
def _unlisted() -> None:
    coco([image(7, "a.jpg")], [box(1, 7)])
    picture("images/b.png")


@situation("COCO file with a byte order mark")
def _mark() -> None:
    coco([image(7, "a.jpg")], [box(1, 7)])
    path = Path("coco.json")
    path.write_text(path.read_text(), encoding="utf-8-sig")


@situation("half a COCO file")
def _half_a_file() -> None:
    coco([image(7, "a.jpg")], [box(1, 7)])
    path = Path("coco.json")
    path.write_bytes(path.read_bytes()[:60])


@situation("a folder named as COCO file")
def _folder() -> None:
    coco([image(7, "a.jpg")], [box(1, 7)])
    write("coco.txt", COCO.replace('"coco.json"', '"images"'))
