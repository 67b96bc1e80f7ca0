"""What the data of a spec hold, in numbers; the images themselves are not read."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.console import track
from qatkit.dataset.batches import network_boxes
from qatkit.dataset.convert import SEED, source_of
from qatkit.dataset.frames import Split, missing_images, scan_frames
from qatkit.dataset.images import ImageLayout
from qatkit.dataset.sources import LabelledFrame, Source
from qatkit.errors import DataError
from qatkit.evaluation.matching import Criteria
from qatkit.spec import ClusteringConfig, DatasetExportConfig, Experiment, class_names
from qatkit.spec.backbones import STRIDE

_MANY = 0.25  # of a class's objects


@dataclass(frozen=True)
class ClassStatistics:
    """The objects of one class; sizes are pixels of the network's input.

    median_size: width and height; None without objects. in_one_cell: how many fit into a grid cell.
    not_evaluated: how many evaluation_box_config leaves out. too_low: how many are not higher than the
    minimum_bounding_box_height of DBSCAN's detections. outside: how many have less than a pixel inside the image.
    """

    name: str
    objects: int
    median_size: tuple[float, float] | None
    in_one_cell: int
    not_evaluated: int
    too_low: int
    outside: int

    def notes(self) -> Iterator[str]:
        """What is wrong with many of the objects."""
        for count, what in (
            (self.in_one_cell, f"fit into one grid cell ({STRIDE}x{STRIDE} pixels of the network's input)"),
            (self.not_evaluated, "are left out by evaluation_config.evaluation_box_config"),
            (self.too_low, "are not higher than minimum_bounding_box_height: they will not be detected"),
            (self.outside, "lie outside the network's input"),
        ):
            if count and count >= _MANY * self.objects:
                yield f"{count} of {self.objects} objects of class {self.name} {what}"


@dataclass(frozen=True)
class SplitStatistics:
    """The record files of a split. missing_images: files that do not exist."""

    images: int
    missing_images: tuple[str, ...]
    classes: tuple[ClassStatistics, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ConversionStatistics:
    """The labels that a conversion reads.

    folds: images per fold. objects: by the name that the records will have. no_area: objects that the conversion
    leaves out. classes: of the network, where an experiment spec says which. problems: frames that cannot be read.
    """

    folds: tuple[int, ...]
    objects: dict[str, int]
    no_area: int
    classes: tuple[ClassStatistics, ...]
    problems: tuple[str, ...]


def split_statistics(spec: Experiment, split: Split) -> SplitStatistics:
    """Read the record files of a split. Raises DataError where training would, but for missing images."""
    frames, notes = scan_frames(spec.dataset_config, class_names(spec), split)
    classes = _by_class(spec, frames.boxes, frames.object_sizes, frames.class_ids)
    small = [f"{split} data: {note}" for statistics in classes for note in statistics.notes()]
    return SplitStatistics(len(frames), tuple(missing_images(frames)), classes, (*notes, *small))


def conversion_statistics(config: DatasetExportConfig, spec: Experiment | None) -> ConversionStatistics:
    """Read all labels, and the heads of all images, of a conversion. Raises DataError where nothing can be read."""
    source = source_of(config, random.Random(SEED))
    folds = [names for names in source.fold_names() if names]
    problems: list[str] = []
    tally = _Tally()
    for number, names in enumerate(folds):
        for frame in _frames(source, number, names, problems):
            tally.add(frame)
    classes = () if spec is None else tally.by_class(spec)
    return ConversionStatistics(
        tuple(map(len, folds)), dict(Counter(tally.names)), tally.no_area, classes, tuple(problems)
    )


def _frames(source: Source, fold: int, names: Sequence[str], problems: list[str]) -> Iterator[LabelledFrame]:
    """The frames of a fold that can be read; what is wrong with the others goes to `problems`."""
    for name in track(names, f"fold {fold}", len(names)):
        try:
            yield source.frame(fold, name)
        except DataError as error:
            problems.append(str(error))


class _Tally:
    """Objects of labelled frames, one after the other."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.no_area = 0
        self._boxes: list[tuple[float, float, float, float]] = []
        self._sizes: list[tuple[int, int]] = []

    def add(self, frame: LabelledFrame) -> None:
        kept = [item.label for item in frame.objects if item.label.is_drawable]
        self.no_area += len(frame.objects) - len(kept)
        self.names += [label.class_name.lower() for label in kept]
        self._boxes += [label.box for label in kept]
        self._sizes += [(frame.width, frame.height)] * len(kept)

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
    return tuple(_of_class(spec, name, inside[class_ids == number]) for number, name in enumerate(class_names(spec)))


def _of_class(spec: Experiment, name: str, boxes: NDArray[np.float32]) -> ClassStatistics:
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
        outside=len(boxes) - int(visible.sum()),
    )


def _median(width: NDArray[Any], height: NDArray[Any]) -> tuple[float, float] | None:
    return (float(np.median(width)), float(np.median(height))) if len(width) else None
