"""All frames of a data set in memory: where the images are and what is in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from qatkit import console
from qatkit.dataset.paths import check_folder, resolve
from qatkit.dataset.picture_file import PictureFile, find_missing, find_pictures, list_pictures
from qatkit.dataset.record_files import of_two_conversions, record_files
from qatkit.dataset.records import Records, concatenate, read_records
from qatkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from qatkit.spec import DatasetConfig, DataSource

Split = Literal["training", "validation"]

_FOLD = re.compile(r"fold-(\d+)-of-")


@dataclass(frozen=True, eq=False)
class FrameTable:
    """N frames with M objects in all.

    image_paths: N file names. sizes: int32 [N, 2], width and height in pixels.
    boxes: float32 [M, 4], x1 y1 x2 y2 in pixels of the image file; those of frame i are
    boxes[row_splits[i] : row_splits[i + 1]]. class_ids: int32 [M], an index into `classes`.
    weights: float32 [N], multiplies a frame's loss. sources: int32 [N], which data source a frame is from.
    upright: bool [N], whether an image is turned as its EXIF data say; its size and boxes are then those it has so.
    """

    classes: tuple[str, ...]
    image_paths: tuple[str, ...]
    sizes: NDArray[np.int32]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    row_splits: NDArray[np.int64]
    weights: NDArray[np.float32]
    sources: NDArray[np.int32]
    upright: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image_paths)

    def image(self, frame: int) -> PictureFile:
        """The image file of a frame."""
        return PictureFile(self.image_paths[frame], bool(self.upright[frame]))

    def objects(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Boxes [n, 4] in pixels of the image file, and class ids [n], of one frame."""
        rows = slice(self.row_splits[frame], self.row_splits[frame + 1])
        return self.boxes[rows], self.class_ids[rows]

    def sample(self, count: int) -> FrameTable:
        """At most `count` frames, evenly spread."""
        chosen = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int)
        return self.subset(chosen.tolist())

    def subset(self, frames: Sequence[int]) -> FrameTable:
        """The frames with these numbers, in this order."""
        chosen = np.asarray(frames, np.int64)
        counts = np.diff(self.row_splits)[chosen]
        splits = np.concatenate([[0], np.cumsum(counts)])
        rows = np.repeat(self.row_splits[chosen] - splits[:-1], counts) + np.arange(splits[-1])
        return replace(
            self,
            image_paths=tuple(self.image_paths[frame] for frame in chosen),
            sizes=self.sizes[chosen],
            boxes=self.boxes[rows],
            class_ids=self.class_ids[rows],
            row_splits=splits,
            weights=self.weights[chosen],
            sources=self.sources[chosen],
            upright=self.upright[chosen],
        )

    @property
    def object_sizes(self) -> NDArray[np.int32]:
        """[M, 2] width and height, in pixels, of the image that each object is in."""
        return np.repeat(self.sizes, np.diff(self.row_splits), axis=0)

    @property
    def max_objects(self) -> int:
        """The largest number of objects in one frame."""
        return int(np.diff(self.row_splits).max(initial=0))

    def class_counts(self) -> dict[str, int]:
        """How many objects each class has."""
        counts = np.bincount(self.class_ids[self.class_ids >= 0], minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist()))


def load_frames(config: DatasetConfig, classes: Sequence[str], split: Split, apart: Sequence[str] = ()) -> FrameTable:
    """Read the records of one split and map their class names to `classes`, once.

    Frames keep the order of sources, of file names, and of records in a file. Objects whose class is not a key of
    `target_class_mapping` are dropped with one warning. Objects that records call one of `apart` have ids of their
    own, behind those of `classes`, whether they are mapped or not (`detectnet.told_apart`).
    Raises SpecError when the spec names no data; DataError when files or images are missing or damaged, when the
    split is empty or has no object of any class, or when a class maps to one that is not in `classes`.
    """
    frames, notes = scan_frames(config, classes, split, apart)
    missing = missing_images(frames)
    if missing:
        raise missing_error(missing, len(frames))
    for note in notes:
        console.warn(note)
    return frames


def scan_frames(
    config: DatasetConfig, classes: Sequence[str], split: Split, apart: Sequence[str] = ()
) -> tuple[FrameTable, list[str]]:
    """As `load_frames`, but no image is looked for, and the warnings are returned."""
    selected = _select(config, split)
    records, sources, paths = _read(selected, _extension(config))
    if not paths:
        raise DataError(f"no {split} frames: the record files hold none")
    class_ids, notes = _map_classes(records.class_names, config.target_class_mapping, classes, split, apart)
    notes += [f"{split} data: {note}" for note in of_two_conversions(path for _, files in selected for path in files)]
    kept = class_ids >= 0
    frame_of = np.repeat(np.arange(len(paths)), records.counts)[kept]
    weights = np.asarray([source.source_weight or 1.0 for source, _ in selected], np.float32)
    frames = FrameTable(
        classes=tuple(classes),
        image_paths=paths,
        sizes=records.sizes,
        boxes=records.boxes[kept],
        class_ids=class_ids[kept],
        row_splits=np.searchsorted(frame_of, np.arange(len(paths) + 1)),
        weights=weights[sources],
        sources=sources,
        upright=records.upright,
    )
    return frames, notes


def missing_images(frames: FrameTable) -> list[str]:
    """The image files that do not exist, each once."""
    return find_missing(list(dict.fromkeys(frames.image_paths)))


def sources_of(config: DatasetConfig, split: Split) -> list[DataSource]:
    """The data sources that the frames of a split are taken from. Raises SpecError when the spec names none."""
    which = config.WhichOneof("dataset_split_type")
    if split == "validation" and which == "validation_data_source":
        return [config.validation_data_source]
    if split == "validation" and which is None:
        raise SpecError("dataset_config has neither validation_fold nor validation_data_source")
    if not config.data_sources:
        raise SpecError("dataset_config has no data_sources")
    return list(config.data_sources)


def _select(config: DatasetConfig, split: Split) -> list[tuple[DataSource, list[Path]]]:
    """The sources of a split, each with its record files."""
    found = [(source, record_files(source.tfrecords_path)) for source in sources_of(config, split)]
    if config.WhichOneof("dataset_split_type") != "validation_fold":
        return found
    part, wanted = f"fold-{config.validation_fold:03d}-of-", split == "validation"
    chosen = [(source, [path for path in files if (part in path.name) == wanted]) for source, files in found]
    if not any(files for _, files in chosen):
        names = {match[1] for _, files in found for path in files if (match := _FOLD.search(path.name))}
        there = f"there are only fold {', '.join(sorted(names))}" if names else "no name has a fold"
        what = "is in no record file's name" if wanted else "takes all record files: none is left to train on"
        raise DataError(
            f"validation_fold: {config.validation_fold} {what} ({part}...); {there}",
            hint="validation_data_source names other files to validate on",
        )
    return chosen


def _extension(config: DatasetConfig) -> str:
    extension = config.image_extension.lstrip(".")
    if not extension:
        raise SpecError("dataset_config has no image_extension", hint='such as image_extension: "jpg"')
    return extension


def _read(
    selected: Sequence[tuple[DataSource, list[Path]]], extension: str
) -> tuple[Records, NDArray[np.int32], tuple[str, ...]]:
    """The records of all files, and for each its source's number and its image file."""
    parts, sources, paths = [], [], []
    for number, (source, files) in enumerate(selected):
        folder = check_folder(resolve(source.image_directory_path), "image_directory_path")
        part = concatenate([read_records(path) for path in files])
        parts.append(part)
        sources.append(np.full(len(part.ids), number, np.int32))
        endings = (own or f".{extension}" for own in part.extensions)
        paths += find_pictures([f"{folder / frame}{end}" for frame, end in zip(part.ids, endings)])
    return concatenate(parts), np.concatenate(sources), tuple(paths)


def missing_error(missing: Sequence[str], images: int) -> DataError:
    """What to say of images that do not exist, of so many in all."""
    return DataError(
        f"{missing[0]}: no such image ({len(missing)} of {images} are missing)",
        hint=_other_endings(Path(missing[0])) or "an image is image_directory_path / frame id . image_extension",
    )


def _other_endings(path: Path) -> str:
    """Of a file that is missing: which pictures of its name there are."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    found = [other.name for other in list_pictures(path.parent).pictures if other.stem == path.stem]
    return f"there is {', '.join(found)}; image_extension?" if found else ""


def _map_classes(
    names: Sequence[str], mapping: Mapping[str, str], classes: Sequence[str], split: Split, apart: Sequence[str]
) -> tuple[NDArray[np.int32], list[str]]:
    """The class id [M] of each object, -1 for those that are dropped; and what their user should know.

    Those of `apart` get the ids behind the classes'.
    """
    counts = Counter(names)
    ids = {name: _class_id(name, mapping[name], classes) for name in counts if name in mapping}
    known = {*ids, *apart, "dontcare"}
    dropped = {name: counts[name] for name in sorted(counts) if name not in known}
    class_ids = np.asarray([ids.get(name, -1) for name in names], np.int32)
    if not (class_ids >= 0).any():
        raise DataError(
            f"{split} data: no object of any class ({', '.join(classes)}); the records have: "
            f"{', '.join(sorted(counts)) or 'no objects'}",
            hint="keys of target_class_mapping are the lower-case names of the records",
        )
    notes = []
    if dropped:
        what = ", ".join(f"{name} ({count})" for name, count in dropped.items())
        notes.append(f"{split} data: not in target_class_mapping, dropped: {what}")
    absent = [name for number, name in enumerate(classes) if not (class_ids == number).any()]
    if absent:
        notes.append(f"{split} data: no objects of class {', '.join(absent)}")
    if unseen := [name for name in apart if name not in counts]:
        notes.append(f"{split} data: no object is called {', '.join(unseen)}, which loss_mask_label_filter names")
    if apart:
        ids |= {name: len(classes) + number for number, name in enumerate(apart)}
        class_ids = np.asarray([ids.get(name, -1) for name in names], np.int32)
    return class_ids, notes


def _class_id(name: str, target: str, classes: Sequence[str]) -> int:
    if target not in classes:
        raise DataError(
            f"target_class_mapping sends {name!r} to {target!r}, which cost_function_config does not know",
            hint=f"it knows: {', '.join(classes)}",
        )
    return list(classes).index(target)
