"""The labelled frames that `dataset_convert` starts from: a KITTI folder, or COCO annotations."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qatkit.dataset import partition
from qatkit.dataset.kitti import KittiObject, read_labels
from qatkit.dataset.paths import resolve
from qatkit.dataset.picture_file import PictureFile, look_at
from qatkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from qatkit.spec import COCOConfig, KITTIConfig

Split = Callable[[Sequence[str], float, random.Random], list[list[str]]]


@dataclass(frozen=True)
class LabelledObject:
    """An object with the name it has in the labels, and a key that finds it there again."""

    key: str
    label: KittiObject


@dataclass(frozen=True)
class LabelledFrame:
    """An image (id: its path without extension below the root; width and height in pixels) and its objects."""

    id: str
    width: int
    height: int
    objects: tuple[LabelledObject, ...]


class Source(Protocol):
    """Frames in folds, each fold in shards."""

    folds: int  # as the spec has it; 0 for one fold without a number

    def fold_names(self) -> list[list[str]]:
        """The frame names of each fold, in the order in which they are written."""

    def shards(self, fold: int) -> int:
        """Number of shards of a fold as the spec has it; 0 for one without a number."""

    def frame(self, fold: int, name: str) -> LabelledFrame:
        """Read one frame. Raises DataError where its label or image is missing or damaged."""


class KittiSource:
    """Images and label files of the same name in two folders below a root.

    split: `partition.random_split` or `partition.tao_split`, for the partition mode "random".
    """

    def __init__(self, config: KITTIConfig, generator: random.Random, split: Split) -> None:
        self._config = config
        self._root = _folder(config.root_directory_path, "root_directory_path")
        self._generator = generator
        self._split = split
        extension = config.image_extension or ".png"
        self._extension = extension if extension.startswith(".") else f".{extension}"
        self.folds = config.num_partitions
        self._check()

    def fold_names(self) -> list[list[str]]:
        if self._config.partition_mode == "sequence":
            return partition.sequence_split(self._sequences(), self.folds, self._generator)
        return self._split(self._image_names(), self._config.val_split, self._generator)

    def shards(self, fold: int) -> int:
        return self._config.num_shards

    def frame(self, fold: int, name: str) -> LabelledFrame:
        image, label = Path(self._config.image_dir_name, name), Path(self._config.label_dir_name, f"{name}.txt")
        objects = read_labels(self._root / label)
        shown = Path(self._config.root_directory_path, label)  # as the spec writes it
        width, height = look_at(PictureFile(f"{self._root / image}{self._extension}"), decode=False).size
        return LabelledFrame(
            image.as_posix(),
            width,
            height,
            tuple(LabelledObject(f"{shown}_{number}", label) for number, label in enumerate(objects)),
        )

    def _check(self) -> None:
        mode = self._config.partition_mode
        if mode not in ("random", "sequence"):
            raise SpecError(f'kitti_config: partition_mode is "{mode}", expected "random" or "sequence"')
        if mode == "random" and self.folds != 2:
            raise SpecError(f'kitti_config: num_partitions is {self.folds}; partition_mode "random" makes 2')
        if mode == "random" and not 0 <= self._config.val_split <= 100:
            raise SpecError(f"kitti_config: val_split is {self._config.val_split:g}, expected 0 <= val_split <= 100")
        if mode == "sequence" and not self._config.kitti_sequence_to_frames_file:
            raise SpecError('kitti_config: partition_mode "sequence" needs kitti_sequence_to_frames_file')

    def _image_names(self) -> list[str]:
        folder = self._root / self._config.image_dir_name
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder", hint="image_dir_name")
        names = sorted(path.name for path in folder.iterdir() if path.name.endswith(self._extension))
        if not names:
            raise DataError(f"{folder}: no images *{self._extension}", hint="image_extension")
        return [name[: -len(self._extension)] for name in names]

    def _sequences(self) -> dict[str, list[str]]:
        path = self._root / self._config.kitti_sequence_to_frames_file
        sequences = _json(path)
        if not isinstance(sequences, dict) or not all(_is_text_list(frames) for frames in sequences.values()):
            raise DataError(f"{path}: expected an object: sequence name -> list of frame names")
        if not any(sequences.values()):
            raise DataError(f"{path}: no frames")
        return sequences


class CocoSource:
    """One annotation file and one image folder per fold, frames in the order of the file."""

    def __init__(self, config: COCOConfig) -> None:
        self._config = config
        self._root = _folder(config.root_directory_path, "root_directory_path")
        self.folds = config.num_partitions
        self._check()
        self._parts = [
            _CocoPart(self._root / annotations, images)
            for annotations, images in zip(config.annotation_files, config.img_dir_names)
        ]
        first = self._parts[0]
        for part in self._parts[1:]:
            if part.categories.keys() != first.categories.keys():
                raise DataError(f"{part.path}: not the same category ids as {first.path}")

    def fold_names(self) -> list[list[str]]:
        return [list(part.images) for part in self._parts]

    def shards(self, fold: int) -> int:
        given = self._config.num_shards
        return given[fold] if len(given) > 1 else sum(given)

    def frame(self, fold: int, name: str) -> LabelledFrame:
        return self._parts[fold].frame(name)

    def _check(self) -> None:
        config = self._config
        lengths = {len(config.annotation_files), len(config.img_dir_names)}
        if lengths != {config.num_partitions} or config.num_partitions == 0:
            raise SpecError(
                "coco_config: num_partitions must be the number of annotation_files and of img_dir_names, got "
                f"{config.num_partitions}, {len(config.annotation_files)} and {len(config.img_dir_names)}"
            )
        if len(config.num_shards) not in (0, 1, config.num_partitions):
            raise SpecError("coco_config: num_shards must be given once, or once per partition")


class _CocoPart:
    """One annotation file."""

    def __init__(self, path: Path, image_folder: str) -> None:
        self.path = path
        self._folder = image_folder
        content = _json(path)
        images, annotations = _rows(path, content, "images"), _rows(path, content, "annotations")
        categories = _rows(path, content, "categories")
        try:
            self.categories: dict[int, str] = {row["id"]: row["name"].replace(" ", "") for row in categories}
            self.images: dict[str, dict[str, Any]] = {row["file_name"]: row for row in images}
            self._objects: dict[int, list[LabelledObject]] = {row["id"]: [] for row in images}
            for row in annotations:
                self._objects[row["image_id"]].append(self._object(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: not a COCO annotation file: {type(error).__name__} {error}") from error

    def _object(self, row: dict[str, Any]) -> LabelledObject:
        x, y, width, height = (float(value) for value in row["bbox"])
        label = KittiObject(self.categories[row["category_id"]], (x, y, x + width, y + height))
        return LabelledObject(str(row["id"]), label)

    def frame(self, name: str) -> LabelledFrame:
        row = self.images[name]
        try:
            image = Path(self._folder, name).with_suffix("").as_posix()
            return LabelledFrame(image, int(row["width"]), int(row["height"]), tuple(self._objects[row["id"]]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.path}: image {name!r}: {type(error).__name__} {error}") from error


def _folder(path: str, field: str) -> Path:
    place = resolve(path)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder", hint=field)
    return place


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot read this JSON file: {error}") from error


def _rows(path: Path, content: Any, key: str) -> list[Any]:
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: no {key}; not a COCO annotation file, or an empty one")
    return rows


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
