"""COCO annotations: one file and one image folder per fold, frames in the order of the file."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from qatkit.dataset.coco import CocoFile, CocoImage, read_coco
from qatkit.dataset.paths import check_folder
from qatkit.dataset.picture_file import PictureFacts, find_pictures, list_pictures
from qatkit.dataset.source import LabelledFrame, Reading, UnusableImageError, root_folder
from qatkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from qatkit.spec import COCOConfig


class CocoSource:
    """See `Source`."""

    def __init__(self, config: COCOConfig, reading: Reading) -> None:
        self._config = config
        root = root_folder(config.root_directory_path)
        self.folds = config.num_partitions
        self._check()
        files = [read_coco(root / name) for name in config.annotation_files]
        for other in files[1:]:
            if other.categories.keys() != files[0].categories.keys():
                raise DataError(f"{other.path}: not the same category ids as {files[0].path}")
        self._parts = [_Part(file, root, images, reading) for file, images in zip(files, config.img_dir_names)]
        self.passed_over = sum((part.passed_over() for part in self._parts), Counter[str]())

    def fold_names(self) -> list[list[str]]:
        return [list(part.file.images) for part in self._parts]

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


class _Part:
    """One annotation file and its images."""

    def __init__(self, file: CocoFile, root: Path, image_folder: str, reading: Reading) -> None:
        self.file = file
        self._image_folder = image_folder
        self._folder = check_folder(root / image_folder, "img_dir_names")
        self._reading = reading
        self._paths = dict(
            zip(self.file.images, find_pictures([f"{self._folder / name}" for name in self.file.images]))
        )
        pictures = list_pictures(self._folder).pictures
        taken = set(self._paths.values())
        self._others = [path for path in pictures if str(path) not in taken]
        stems, endings = zip(*map(_split, self.file.images))
        # Where a frame's id does not tell which file it is.
        self._names_endings = len(set(endings)) > 1 or not set(stems).isdisjoint(path.stem for path in self._others)

    def passed_over(self) -> Counter[str]:
        """What lies or is labelled there and is no frame."""
        counts = {
            "images that are not listed": len(self._others),
            "annotations of images that are not listed": self.file.unlisted,
        }
        return +Counter(counts)

    def frame(self, name: str) -> LabelledFrame:
        image, path = self.file.images[name], self._paths[name]
        facts = self._reading.look_at(path)
        self._check_size(image, path, facts)
        return LabelledFrame(
            id=Path(self._image_folder, _split(name)[0]).as_posix(),
            extension=_split(path)[1] if self._names_endings else "",
            width=image.width,
            height=image.height,
            orientation=facts.orientation,
            exif=self._reading.exif,
            objects=image.objects,
        )

    def _check_size(self, image: CocoImage, path: str, facts: PictureFacts) -> None:
        """Boxes of an image of another size would be wrong. Raises UnusableImageError."""
        if (image.width, image.height) == facts.size:
            return
        other = "apply" if self._reading.exif == "ignore" else "ignore"
        turned = facts.is_turned and (image.height, image.width) == facts.size
        raise UnusableImageError(
            f"{path}: the image is {facts.size[0]} x {facts.size[1]}, {self.file.path} says "
            f"{image.width} x {image.height}",
            "images of another size than the annotations say",
            hint=f"it carries an EXIF rotation: --exif {other}" if turned else "",
        )


def _split(name: str) -> tuple[str, str]:
    """Name and ending, in small letters."""
    stem, extension = os.path.splitext(name)  # noqa: PTH122 - no path: "." and ".." are letters here
    return stem, extension.lower()
