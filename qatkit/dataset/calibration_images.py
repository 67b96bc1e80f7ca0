"""The images that calibration reads: of a folder, of a training spec, or of a TensorFile made before."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from qatkit.choices import CALIBRATION_BATCH_SIZE, CALIBRATION_BATCHES, EXIF, Exif
from qatkit.console import info, track, warn
from qatkit.dataset.frames import Split, load_frames
from qatkit.dataset.images import ImageLayout, image_files, load_pixels, map_ahead, to_float
from qatkit.dataset.picture_file import PictureFile
from qatkit.dataset.tensorfile import Images, TensorFile, open_tensorfile, write_tensorfile
from qatkit.detectnet import fit
from qatkit.errors import DataError, UsageError
from qatkit.files import sha256
from qatkit.model.file import Model
from qatkit.spec import Experiment, class_names

_SEED = 42  # where no spec has one
_IMAGES_AHEAD = 4  # decoded before they are asked for


@dataclass(frozen=True)
class CalibrationImages(ABC):
    """Iterating gives the first batch, [batch_size, H, W, C] in 0..1, and then one image at a time.

    So memory does not grow with their number; which images are the first batch matters (`export.calibrate`).

    paths: the files that hold them. layout: how a file became a network input, None where they were stored as such.
    source: where they are from, for a reader. seed: what drew them, None where they were taken in order.
    batch_size: how many TensorRT would be given at once.
    """

    paths: tuple[str, ...]
    layout: ImageLayout | None
    source: str
    seed: int | None
    batch_size: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _each(self) -> Iterator[Images]:
        """One image after the other, [1, H, W, C]."""

    def __iter__(self) -> Iterator[Images]:
        images = track(self._each(), "Calibration", len(self))
        yield np.concatenate(list(islice(images, self.batch_size)))
        yield from images

    def first(self, count: int) -> Images:
        """The first images, [count, H, W, C], or all if there are fewer."""
        return np.concatenate(list(islice(self._each(), count)))

    def record(self) -> dict[str, Any]:
        """What it takes to find them again, for a JSON file.

        The fields, but for `files`, path and sha256 of each, in place of `paths`; and `images`, their number.
        """
        return {
            "source": self.source,
            "seed": self.seed,
            "images": len(self),
            "batch_size": self.batch_size,
            "layout": None if self.layout is None else asdict(self.layout),
            "files": [self._file(number) for number in range(len(self.paths))],
        }

    def _file(self, number: int) -> dict[str, Any]:
        path = Path(self.paths[number])
        return {"path": str(path.absolute()), "sha256": sha256(path)}


@dataclass(frozen=True)
class ImageFiles(CalibrationImages):
    """Image files, one image in each. upright: whether each is turned as its EXIF data say."""

    layout: ImageLayout
    upright: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, size: int) -> Iterator[Images]:
        """Batches [size, H, W, C]; images that do not fill one are left out."""
        images = self._each()
        for _ in range(len(self) // size):
            yield np.concatenate(list(islice(images, size)))

    def _file(self, number: int) -> dict[str, Any]:
        return super()._file(number) | ({"exif": "apply"} if self.upright[number] else {})

    def _each(self) -> Iterator[Images]:
        files = map(PictureFile, self.paths, self.upright)
        return map_ahead(lambda file: to_float(load_pixels(file, self.layout))[None], files, _IMAGES_AHEAD)


@dataclass(frozen=True)
class StoredImages(CalibrationImages):
    """The first `count` images of a TensorFile."""

    file: TensorFile
    count: int

    def __len__(self) -> int:
        return self.count

    def _each(self) -> Iterator[Images]:
        return islice(self.file, self.count)


def choose_images(
    files: Sequence[PictureFile], count: int, seed: int, layout: ImageLayout, source: str, batch_size: int
) -> ImageFiles:
    """`count` of the `files` of `source` (all if there are fewer), drawn with `seed`.

    Raises DataError when there is none.
    """
    if not files:
        raise DataError("there are no images to calibrate with")
    order = np.random.default_rng(seed).permutation(len(files))[:count]
    paths, upright = zip(*(files[index] for index in order))
    return ImageFiles(paths, layout, source, seed, batch_size, upright)


def images_from_folder(
    model: Model, folder: Path, count: int, seed: int, batch_size: int = CALIBRATION_BATCH_SIZE, exif: Exif = EXIF
) -> ImageFiles:
    """Images of a folder, resized to the network's input. exif: "apply" turns them as their EXIF data say."""
    height, width, channels = model.graph.input.shape
    files = [PictureFile(str(path), exif == "apply") for path in image_files(folder)]
    layout = ImageLayout(width, height, channels, auto_resize=True)
    return choose_images(files, count, seed, layout, str(folder), batch_size)


def images_from_spec(
    spec: Experiment, count: int, batch_size: int = CALIBRATION_BATCH_SIZE, *, validation: bool = False
) -> ImageFiles:
    """Images of `spec`, prepared as for training but without augmentation; the seed is the spec's."""
    split: Split = "validation" if validation else "training"
    frames = load_frames(spec.dataset_config, class_names(spec), split)
    layout = ImageLayout.from_spec(spec.augmentation_config.preprocessing)
    source = f"the spec's {split} data"
    files = [frames.image(row) for row in range(len(frames))]
    return choose_images(files, count, spec.random_seed, layout, source, batch_size)


def images_from_tensorfile(
    model: Model, path: Path, count: int, batch_size: int = CALIBRATION_BATCH_SIZE
) -> StoredImages:
    """Images of a TensorFile, as they stand there, in its batches or in smaller ones of `batch_size`.

    Raises UsageError when they are not of the network's size.
    """
    file = open_tensorfile(path)
    if file.image_shape != model.graph.input.shape:
        found, wanted = fit.size(file.image_shape), fit.size(model.graph.input.shape)
        raise UsageError(f"{path}: its images are {found}, the model takes {wanted}")
    size, count = min(batch_size, file.batch_sizes[0]), min(count, len(file))
    return StoredImages((str(path),), None, str(path), None, size, file, count)


def calibration_images(
    model: Model,
    spec: Experiment | None,
    *,
    image_dir: Path | None = None,
    data_file: Path | None = None,
    batches: int = CALIBRATION_BATCHES,
    batch_size: int = CALIBRATION_BATCH_SIZE,
    exif: Exif = EXIF,
) -> CalibrationImages | None:
    """The images that the flags of `export` name; says which. None where they name none.

    exif: of image_dir; the records of the spec's data say it themselves.

    data_file comes before image_dir, and that before the spec. A data_file that does not exist is made from
    image_dir, as TAO does; one that exists is used, with a warning that image_dir is not.
    """
    count = batches * batch_size
    seed = spec.random_seed if spec is not None else _SEED
    images: CalibrationImages
    if data_file is not None:
        if image_dir is not None and data_file.exists():
            warn(f"{data_file} exists and is used; --cal_image_dir {image_dir} is not read")
        elif image_dir is not None:
            _write(data_file, images_from_folder(model, image_dir, count, seed, exif=exif), batch_size)
        images = images_from_tensorfile(model, data_file, count, batch_size)
    elif image_dir is not None:
        images = images_from_folder(model, image_dir, count, seed, batch_size, exif)
    elif spec is not None:
        images = images_from_spec(spec, count, batch_size)
    else:
        return None
    info(f"Calibrating on {len(images)} images of {images.source}.")
    return images


def make_tensorfile(spec: Experiment, path: Path, max_batches: int = -1, *, validation: bool = False) -> ImageFiles:
    """Write training images of `spec`, or validation images, to a TensorFile; returns those that were written.

    Batches have `batch_size_per_gpu` images, drawn with the spec's seed, without augmentation. max_batches: -1 = all
    that can be filled. Raises UsageError when `path` exists or there are not as many, DataError when there is none.
    """
    if path.exists():
        raise UsageError(f"{path}: exists already", hint="remove it first")
    size = spec.training_config.batch_size_per_gpu
    images = images_from_spec(spec, sys.maxsize, validation=validation)
    available = len(images) // size
    if not available:
        raise DataError(f"{len(images)} images do not fill one batch of {size}", hint="batch_size_per_gpu")
    if max_batches > available:
        raise UsageError(f"--max_batches {max_batches}: there are {available} batches of {size} images")
    chosen = available if max_batches < 0 else max_batches
    images = replace(images, paths=images.paths[: chosen * size])
    _write(path, images, size)
    return images


def _write(path: Path, images: ImageFiles, batch_size: int) -> None:
    """Write `images` in batches of `batch_size` or, if there are fewer, in one."""
    size = min(batch_size, len(images))
    count = write_tensorfile(path, track(images.batches(size), "Tensor file", len(images) // size))
    info(f"written: {path} ({count} batches of {size} images, {path.stat().st_size / 1e6:.2f} MB)")
