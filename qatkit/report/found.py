"""What inference writes: annotated images, KITTI label files, and all that was found in one JSON file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatkit.dataset.kitti import label_names
from qatkit.dataset.picture_file import PictureFile, read_picture
from qatkit.errors import DataError
from qatkit.files import make_directory, write_json, write_text
from qatkit.report.drawing import DrawnBox, draw_boxes, save_picture


@dataclass(frozen=True)
class Found:
    """One object in one image: name, box x1, y1, x2, y2 in pixels of the image, confidence, colour (RGB)."""

    name: str
    box: tuple[float, float, float, float]
    confidence: float
    color: tuple[int, int, int]

    def kitti(self) -> str:
        """The 16-field KITTI line, as TAO's inference writes it, but without spaces in the name: they add fields."""
        name = "".join(self.name.split())
        box = " ".join(f"{value:.3f}" for value in self.box)
        return f"{name} 0.00 0 0.00 {box} 0.00 0.00 0.00 0.00 0.00 0.00 0.00 {self.confidence:.3f}"


class FoundFiles:
    """Writes below a folder, image by image: `images_annotated`, `labels`, and `detections.json` at the end.

    files: all images. line_width: of the boxes in annotated images, pixels; 0 for no annotated images.
    labels: whether KITTI label files are written.
    """

    def __init__(self, folder: Path, files: Sequence[PictureFile], *, line_width: int, labels: bool) -> None:
        self.counts: Counter[str] = Counter()  # objects by name
        self.unread: dict[str, DataError] = {}  # by file name
        self._folder = folder
        self._line_width = line_width
        self._listed: dict[str, list[dict[str, Any]]] = {}
        self._labels = label_names([Path(file.path).name for file in files]) if labels else {}
        if line_width:
            make_directory(folder / "images_annotated")
        if labels:
            make_directory(folder / "labels")

    @property
    def renamed(self) -> list[str]:
        """The label files that are not called like their image without its ending, since another image is too."""
        return [label for name, label in self._labels.items() if label == f"{name}.txt"]

    def add(self, file: PictureFile, found: Sequence[Found]) -> None:
        """Write what was found in one image."""
        name = Path(file.path).name
        if self._line_width:
            try:
                self._annotate(file, found)
            except DataError as reason:  # it was there a moment ago
                self.leave_out(file, reason)
                return
        self.counts.update(item.name for item in found)
        self._listed[name] = [{"name": item.name, "box": item.box, "confidence": item.confidence} for item in found]
        if self._labels:
            write_text(self._folder / "labels" / self._labels[name], "".join(f"{item.kitti()}\n" for item in found))

    def leave_out(self, file: PictureFile, reason: DataError) -> None:
        """Note an image that cannot be read."""
        self.unread[Path(file.path).name] = reason

    def write_json(self, classes: Sequence[str]) -> None:
        """Write `detections.json`, when all images are added. classes: those of the spec."""
        unread = {name: str(reason) for name, reason in self.unread.items()}
        content = {"classes": list(classes), "images": self._listed, **({"unread": unread} if unread else {})}
        write_json(self._folder / "detections.json", content)

    def _annotate(self, file: PictureFile, found: Sequence[Found]) -> None:
        picture = read_picture(file)
        boxes = [
            DrawnBox(item.box, item.color, f"{item.name}:{item.confidence:.3f}", self._line_width) for item in found
        ]
        draw_boxes(picture, boxes)
        save_picture(picture, self._folder / "images_annotated" / Path(file.path).name)
