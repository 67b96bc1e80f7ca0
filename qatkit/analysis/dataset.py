"""What the data of a spec hold, in numbers, and which images cannot be used."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.console import track
from qatkit.dataset.batches import network_boxes
from qatkit.dataset.convert import SEED, source_of
from qatkit.dataset.frames import FrameTable, Split, missing_images, scan_frames
from qatkit.dataset.images import ImageLayout, map_ahead
from qatkit.dataset.picture_file import PictureFacts, look_at
from qatkit.dataset.source import LabelledFrame, Reading, read_frames
from qatkit.dataset.tally import Tally, Turned, reaches_beyond
from qatkit.errors import DataError
from qatkit.evaluation.matching import Criteria
from qatkit.spec import ClusteringConfig, DatasetExportConfig, Experiment, class_names
from qatkit.spec.backbones import STRIDE
from qatkit.spec.names import stored_name

_MANY = 0.25  # of a class's objects
_IMAGES_AHEAD = 64  # looked at before they are asked for


@dataclass(frozen=True)
class ClassStatistics:
    """The objects of one class; sizes are pixels of the network's input.

    median_size: width and height; None without objects. in_one_cell: how many fit into a grid cell.
    not_evaluated: how many evaluation_box_config leaves out. too_low: how many are not higher than the
    minimum_bounding_box_height of DBSCAN's detections. outside: how many reach beyond their image. unseen: how many
    have less than a pixel inside the network's input.
    """

    name: str
    objects: int
    median_size: tuple[float, float] | None
    in_one_cell: int
    not_evaluated: int
    too_low: int
    outside: int
    unseen: int

    def notes(self) -> Iterator[str]:
        """What is wrong with many of the objects."""
        for count, what in (
            (self.in_one_cell, f"fit into one grid cell ({STRIDE}x{STRIDE} pixels of the network's input)"),
            (self.not_evaluated, "are left out by evaluation_config.evaluation_box_config"),
            (self.too_low, "are not higher than minimum_bounding_box_height: they will not be detected"),
            (self.outside, "reach beyond their image"),
            (self.unseen, "lie outside the network's input"),
        ):
            if count and count >= _MANY * self.objects:
                yield f"{count} of {self.objects} objects of class {self.name} {what}"


@dataclass(frozen=True)
class SplitStatistics:
    """The record files of a split. missing_images: files that do not exist. problems: images that cannot be used."""

    images: int
    missing_images: tuple[str, ...]
    problems: tuple[str, ...]
    classes: tuple[ClassStatistics, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ConversionStatistics:
    """The labels that a conversion reads.

    folds: images per fold. objects: by the name that the records will have. classes: of the network, where an
    experiment spec says which. problems: frames that cannot be read. passed_over: what is no frame, by reason. notes:
    what else to tell of labels and images.
    """

    folds: tuple[int, ...]
    objects: dict[str, int]
    classes: tuple[ClassStatistics, ...]
    problems: tuple[str, ...]
    passed_over: dict[str, int]
    notes: tuple[str, ...]


def split_statistics(spec: Experiment, split: Split, *, decode: bool = True) -> SplitStatistics:
    """Read the record files of a split, and its images. Raises DataError where training would, but for images.

    decode: look at all pixels, not only at the heads.
    """
    frames, notes = scan_frames(spec.dataset_config, class_names(spec), split)
    classes = _by_class(spec, frames.boxes, frames.object_sizes, frames.class_ids)
    small = [note for statistics in classes for note in statistics.notes()]
    missing = missing_images(frames)
    turned = Turned()
    problems = list(_look_at_images(frames, set(missing), f"{split} data", turned, decode=decode))
    told = (*notes, *(f"{split} data: {note}" for note in (*small, *turned.notes())))
    return SplitStatistics(len(frames), tuple(missing), tuple(problems), classes, told)


def conversion_statistics(
    config: DatasetExportConfig, spec: Experiment | None, reading: Reading | None = None
) -> ConversionStatistics:
    """Read all labels and images of a conversion, as it does. Raises DataError where nothing can be read."""
    source = source_of(config, random.Random(SEED), reading=reading)
    folds = [(number, names) for number, names in enumerate(source.fold_names()) if names]
    problems: list[str] = []
    tally, objects = Tally(), _Objects()
    for number, names in folds:
        for frame in read_frames(source, number, names, f"fold {number}", lambda error: problems.append(str(error))):
            tally.add(frame)
            objects.add(frame)
    return ConversionStatistics(
        folds=tuple(len(names) for _, names in folds),
        objects=dict(Counter(objects.names)),
        classes=() if spec is None else objects.by_class(spec),
        problems=tuple(problems),
        passed_over=dict(source.passed_over),
        notes=tuple(tally.notes()),
    )


def _look_at_images(
    frames: FrameTable, missing: set[str], title: str, turned: Turned, *, decode: bool
) -> Iterator[str]:
    """What is wrong with images that exist; those with an EXIF rotation that is ignored go to `turned`."""

    def attempt(row: int) -> PictureFacts | str:
        try:
            return look_at(frames.image(row), decode=decode)
        except DataError as error:
            return str(error)

    # A file may be several frames, where sample_modifier_config repeats it.
    rows = list({path: row for row, path in enumerate(frames.image_paths) if path not in missing}.values())
    for row, facts in zip(rows, track(map_ahead(attempt, rows, _IMAGES_AHEAD), title, len(rows))):
        width, height = frames.sizes[row].tolist()
        if isinstance(facts, str):
            yield facts
        elif facts.size != (width, height):
            yield (
                f"{frames.image_paths[row]}: the image is {facts.size[0]} x {facts.size[1]}, its record says "
                f"{width} x {height}"
            )
        elif facts.is_turned and not frames.upright[row]:
            turned.add(frames.objects(row)[0], width, height)


class _Objects:
    """Objects of labelled frames, one after the other."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._boxes: list[tuple[float, float, float, float]] = []
        self._sizes: list[tuple[int, int]] = []

    def add(self, frame: LabelledFrame) -> None:
        labels = [item.label for item in frame.drawable]
        self.names += [stored_name(label.class_name) for label in labels]
        self._boxes += [label.box for label in labels]
        self._sizes += [(frame.width, frame.height)] * len(labels)

    def by_class(self, spec: Experiment) -> tuple[ClassStatistics, ...]:
        mapping, classes = spec.dataset_config.target_class_mapping, class_names(spec)
        ids = {name: classes.index(target) for name, target in mapping.items() if target in classes}
        class_ids = np.array([ids.get(name, -1) for name in self.names], np.int32)
        boxes = np.array(self._boxes, np.float32).reshape(-1, 4)
        return _by_class(spec, boxes, np.array(self._sizes, np.int32).reshape(-1, 2), class_ids)


def _by_class(
    spec: Experiment, boxes: NDArray[np.float32], sizes: NDArray[np.int32], class_ids: NDArray[np.int32]
) -> tuple[ClassStatistics, ...]:
    """boxes [M, 4] in pixels of images with `sizes` [M, 2]; class_ids [M], -1 for objects that do not count."""
    layout = ImageLayout.from_spec(spec.augmentation_config.preprocessing)
    moved = network_boxes(boxes, np.maximum(sizes, 1), layout)
    inside = np.clip(moved, 0, np.array((layout.width, layout.height) * 2, np.float32))
    beyond = reaches_beyond(boxes, sizes)
    rows = [class_ids == number for number in range(len(class_names(spec)))]
    return tuple(
        _of_class(spec, name, inside[row], int(beyond[row].sum())) for name, row in zip(class_names(spec), rows)
    )


def _of_class(spec: Experiment, name: str, boxes: NDArray[np.float32], outside: int) -> ClassStatistics:
    """boxes: what is inside the network's input, in its pixels. outside: how many reach beyond their image."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    visible = (width >= 1) & (height >= 1)
    clustering = spec.postprocessing_config.target_class_config[name].clustering_config
    lowest = 0 if clustering.clustering_algorithm == ClusteringConfig.NMS else clustering.minimum_bounding_box_height

    def count(condition: NDArray[np.bool_]) -> int:
        return int((visible & condition).sum())

    return ClassStatistics(
        name=name,
        objects=len(boxes),
        median_size=_median(width[visible], height[visible]),
        in_one_cell=count((width <= STRIDE) & (height <= STRIDE)),
        not_evaluated=count(~Criteria.from_spec(spec.evaluation_config, name).admits(boxes)),
        too_low=count(height <= lowest),
        outside=outside,
        unseen=len(boxes) - int(visible.sum()),
    )


def _median(width: NDArray[Any], height: NDArray[Any]) -> tuple[float, float] | None:
    return (float(np.median(width)), float(np.median(height))) if len(width) else None
