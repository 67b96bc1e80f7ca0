"""A KITTI folder: images and label files of the same name in two folders below a root."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatkit.console import listed
from qatkit.dataset import partition
from qatkit.dataset.json_file import read_json
from qatkit.dataset.kitti import LabelledObject, read_labels
from qatkit.dataset.paths import list_folder
from qatkit.dataset.picture_file import ending, is_picture
from qatkit.dataset.source import LabelledFrame, Reading, UnusableImageError, root_folder
from qatkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from qatkit.spec import KITTIConfig

Split = Callable[[Sequence[str], float, random.Random], list[list[str]]]


class KittiSource:
    """See `Source`. split: `partition.random_split` or `partition.tao_split`, for the partition mode "random"."""

    def __init__(self, config: KITTIConfig, generator: random.Random, split: Split, reading: Reading) -> None:
        self._config = config
        self._root = Path(root_folder(config.root_directory_path))
        self._generator = generator
        self._split = split
        self._reading = reading
        self.folds = config.num_partitions
        self._check()
        self._images = _Images(self._root / config.image_dir_name, config.image_extension)
        self._labels = _labels(self._root / config.label_dir_name)
        alone = len(self._labels.keys() - self._images.names)
        self.passed_over = self._images.others + Counter({"label files without an image": alone})

    def fold_names(self) -> list[list[str]]:
        if self._config.partition_mode == "sequence":
            return partition.sequence_split(self._sequences(), self.folds, self._generator)
        return self._split(self._images.sorted_names(), self._config.val_split, self._generator)

    def shards(self, fold: int) -> int:
        return self._config.num_shards

    def frame(self, fold: int, name: str) -> LabelledFrame:
        image = Path(self._config.image_dir_name, name)
        label = Path(self._config.label_dir_name, self._labels.get(name, f"{name}.txt"))
        if not (self._root / label).exists():
            hint = "an image without objects needs an empty one"
            raise UnusableImageError(
                f"{self._root / label}: no such label file", "images without a label file", hint=hint
            )
        objects = read_labels(self._root / label)
        shown = Path(self._config.root_directory_path, label)  # as the spec writes it
        path = self._images.path(name)
        facts = self._reading.look_at(str(path))
        return LabelledFrame(
            id=image.as_posix(),
            extension=path.name.removeprefix(Path(name).name) if self._images.are_ambiguous else "",
            width=facts.size[0],
            height=facts.size[1],
            orientation=facts.orientation,
            exif=self._reading.exif,
            objects=tuple(LabelledObject(f"{shown}_{number}", label) for number, label in enumerate(objects)),
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

    def _sequences(self) -> dict[str, list[str]]:
        path = self._root / self._config.kitti_sequence_to_frames_file
        sequences = read_json(path)
        if not isinstance(sequences, dict) or not all(_is_text_list(frames) for frames in sequences.values()):
            raise DataError(f"{path}: expected an object: sequence name -> list of frame names")
        if not any(sequences.values()):
            raise DataError(f"{path}: no frames")
        return sequences


class _Images:
    """The images of a folder that have an ending, in letters of any case.

    names: their names without it, with those of their files. others: what else lies there, by its ending.
    are_ambiguous: whether a picture of another ending has the name of one of them, so that a name alone does not tell
    them apart.
    """

    def __init__(self, folder: Path, extension: str) -> None:
        given = extension or ".png"
        self._extension = given if given.startswith(".") else f".{given}"
        self._folder = folder
        self.names: dict[str, str] = {}
        self.others: Counter[str] = Counter()
        self.are_ambiguous = False
        rest = [path for path in list_folder(folder, "image_dir_name") if not self._takes(path)]
        pictures = {path.stem for path in rest if is_picture(path)}
        self.are_ambiguous = not pictures.isdisjoint(self.names)
        self.others = Counter(map(ending, rest))

    def path(self, name: str) -> Path:
        """The file of an image."""
        return self._folder / self.names.get(name, f"{name}{self._extension}")

    def sorted_names(self) -> list[str]:
        """All names. Raises DataError when there is none."""
        if not self.names:
            there = f"it has {listed(self.others)}; " if self.others else ""
            raise DataError(f"{self._folder}: no images *{self._extension}", hint=f"{there}image_extension")
        return sorted(self.names)

    def _takes(self, path: Path) -> bool:
        fits = path.name.lower().endswith(self._extension.lower()) and not path.name.startswith(".")
        if not fits or path.is_dir():
            return False
        name = path.name[: -len(self._extension)]
        former = self.names.setdefault(name, path.name)
        if former != path.name:
            raise DataError(f"{self._folder}: {former} and {path.name} would share one label file", hint="rename one")
        return True


def _labels(folder: Path) -> dict[str, str]:
    """The label files of a folder by their names without the ending, whose letters may be of any case."""
    found = [path for path in list_folder(folder, "label_dir_name") if path.suffix.lower() == ".txt"]
    return {path.stem: path.name for path in found if not path.name.startswith(".")}


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
