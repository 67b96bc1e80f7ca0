"""A KITTI folder: images and label files of the same name in two folders below a root."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatkit.console import listed
from qatkit.dataset import partition
from qatkit.dataset.json_file import read_json
from qatkit.dataset.kitti import LabelledObject, read_labels
from qatkit.dataset.paths import is_there, list_folder
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
        self._root = root_folder(config.root_directory_path)
        self._generator = generator
        self._split = split
        self._reading = reading
        self.folds = config.num_partitions
        self._check()
        self._images = _Images(self._root / config.image_dir_name, config.image_extension)
        self._labels = _labels(self._root / config.label_dir_name)
        alone = len(self._labels.keys() - self._images.names)
        self.passed_over = self._images.others + Counter({"label files without an image": alone})
        self._sequences: dict[str, list[str]] = {}
        if config.partition_mode == "sequence":
            self._sequences = self._read_sequences()
            named = set(chain.from_iterable(self._sequences.values()))
            self.passed_over += Counter({"images that are in no sequence": len(self._images.names.keys() - named)})

    def fold_names(self) -> list[list[str]]:
        if self._sequences:
            return partition.sequence_split(self._sequences, self.folds, self._generator)
        return self._split(self._images.sorted_names(), self._config.val_split, self._generator)

    def shards(self, fold: int) -> int:
        return self._config.num_shards

    def frame(self, fold: int, name: str) -> LabelledFrame:
        if not _is_unicode(name):  # records hold UTF-8
            raise UnusableImageError(
                f"{self._images.path(name)}: its name is not UTF-8", "images whose names are not UTF-8"
            )
        image = Path(self._config.image_dir_name, name)
        label = Path(self._config.label_dir_name, self._labels.get(name, f"{name}.txt"))
        if not is_there(self._root / label):
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

    def _read_sequences(self) -> dict[str, list[str]]:
        """Frame names, without the ending that some write behind them, by the name of their sequence."""
        path = self._root / self._config.kitti_sequence_to_frames_file
        sequences = read_json(path)
        if not isinstance(sequences, dict) or not all(_is_text_list(frames) for frames in sequences.values()):
            raise DataError(f"{path}: expected an object: sequence name -> list of frame names")
        if not any(sequences.values()):
            raise DataError(f"{path}: no frames")
        found = {sequence: list(map(self._images.name, frames)) for sequence, frames in sequences.items()}
        first: dict[str, str] = {}
        for sequence, name in ((sequence, name) for sequence, names in found.items() for name in names):
            if first.setdefault(name, sequence) != sequence:
                raise DataError(f"{path}: frame {name!r} is in two sequences, {first[name]!r} and {sequence!r}")
        return found


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
        rest = [path for path in list_folder(folder, "image_dir_name") if not self._takes(path)]
        pictures = {path.stem for path in rest if is_picture(path)}
        self.are_ambiguous = not pictures.isdisjoint(self.names)
        self.others = Counter(map(ending, rest))

    def path(self, name: str) -> Path:
        """The file of an image."""
        return self._folder / self.names.get(name, f"{name}{self._extension}")

    def name(self, given: str) -> str:
        """The name of the image that is `given` with the ending or without; itself where there is none."""
        bare = given[: -len(self._extension)] if self._has_ending(given) else given
        return bare if given not in self.names and bare in self.names else given

    def sorted_names(self) -> list[str]:
        """All names. Raises DataError when there is none."""
        if not self.names:
            there = f"it has {listed(self.others)}; " if self.others else ""
            raise DataError(f"{self._folder}: no images *{self._extension}", hint=f"{there}image_extension")
        return sorted(self.names)

    def _has_ending(self, name: str) -> bool:
        return name.lower().endswith(self._extension.lower())

    def _takes(self, path: Path) -> bool:
        if not self._has_ending(path.name) or path.name.startswith(".") or path.is_dir():
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


def _is_unicode(name: str) -> bool:
    """Whether a file name is UTF-8; what is not, Python reads as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
