"""What `dataset_convert` starts from: labelled frames in folds, whatever the format of the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qatkit.choices import EXIF, Exif
from qatkit.console import track
from qatkit.dataset.images import map_ahead
from qatkit.dataset.kitti import LabelledObject
from qatkit.dataset.paths import check_folder, resolve
from qatkit.dataset.picture_file import PictureFacts, PictureFile, look_at
from qatkit.errors import DataError

_FRAMES_AHEAD = 64  # read before they are asked for


class UnusableImageError(DataError):
    """An image that is told by its labels and cannot be used; `reason` is what it is counted as."""

    def __init__(self, message: str, reason: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True)
class Reading:
    """How pictures are read. exif: whether they are turned. decode: whole, not only their heads."""

    exif: Exif = EXIF
    decode: bool = True

    def look_at(self, path: str) -> PictureFacts:
        """See `picture_file.look_at`. Raises UnusableImageError where it raises DataError."""
        try:
            return look_at(PictureFile(path, self.exif == "apply"), decode=self.decode)
        except DataError as error:
            raise UnusableImageError(str(error), "unreadable images") from None


@dataclass(frozen=True)
class LabelledFrame:
    """An image and its objects.

    id: its path below the root, without extension. extension: how the file's name goes on (".jpg"), "" where that is
    the same for all images. width, height: in pixels, of the image as `exif` has it. orientation: EXIF's, 1 =
    upright.
    """

    id: str
    extension: str
    width: int
    height: int
    orientation: int
    exif: Exif
    objects: tuple[LabelledObject, ...]

    @property
    def drawable(self) -> list[LabelledObject]:
        """The objects whose box has an area; the others are left out."""
        return [item for item in self.objects if item.label.is_drawable]


class Source(Protocol):
    """Frames in folds, each fold in shards.

    folds: as the spec has it; 0 for one fold without a number. passed_over: what lies there, or is labelled, and is
    no frame, counted by reason.
    """

    folds: int
    passed_over: Counter[str]

    def fold_names(self) -> list[list[str]]:
        """The frame names of each fold, in the order in which they are written."""

    def shards(self, fold: int) -> int:
        """Number of shards of a fold as the spec has it; 0 for one without a number."""

    def frame(self, fold: int, name: str) -> LabelledFrame:
        """Read one frame. Raises UnusableImageError for its image, DataError where its label is damaged."""


def read_frames(
    source: Source, fold: int, names: Sequence[str], title: str, problem: Callable[[DataError], None]
) -> Iterator[LabelledFrame]:
    """The frames of these names, read by threads; what is wrong with those that cannot be read goes to `problem`."""

    def attempt(name: str) -> LabelledFrame | DataError:
        try:
            return source.frame(fold, name)
        except DataError as error:
            return error

    for found in track(map_ahead(attempt, names, _FRAMES_AHEAD), title, len(names)):
        if isinstance(found, DataError):
            problem(found)
        else:
            yield found


def root_folder(path: str) -> Path:
    """The folder that a spec calls `root_directory_path`. Raises DataError where there is none."""
    return check_folder(resolve(path), "root_directory_path")
