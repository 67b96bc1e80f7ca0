"""TAO's TensorFile: batches of network inputs in an HDF5 file, written once and calibrated on many times.

The attributes of the file are `count`, the number of batches, and `shape`, the shape of each. Batch i is the dataset
`_tensorfile_array_key__<i>/_tensorfile_array_key_`, float [N, C, H, W] in 0..1, compressed by gzip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qatkit.errors import DataError
from qatkit.files import replacing

_KEY = "_tensorfile_array_key_"
_MOST_COMPRESSED = 1032  # the largest ratio that gzip's format can reach

Images = NDArray[np.float32]


@dataclass(frozen=True)
class TensorFile:
    """A file whose batches have been looked at, not read.

    image_shape: height, width and channels of each image. batch_sizes: images in each batch.
    """

    path: Path
    image_shape: tuple[int, int, int]
    batch_sizes: tuple[int, ...]

    def __len__(self) -> int:
        """Number of images."""
        return sum(self.batch_sizes)

    def __iter__(self) -> Iterator[Images]:
        """One image at a time, [1, H, W, C]. Raises DataError for a damaged file."""
        with _opened(self.path) as file:
            for number, size in enumerate(self.batch_sizes):
                batch = _batch(file, number)
                for row in range(size):
                    image = np.asarray(batch[row], np.float32)
                    if not np.isfinite(image).all():
                        raise DataError(f"batch {number}, image {row}: not all of its values are numbers")
                    yield np.ascontiguousarray(image.transpose(1, 2, 0))[None]


def open_tensorfile(path: Path) -> TensorFile:
    """Raises DataError for a file that is missing, damaged, empty, or holds something else than images."""
    with _opened(path) as file:
        shapes = [_batch(file, number).shape for number in range(_count(file))]
    if not shapes:
        raise DataError(f"{path}: holds no batches")
    (channels, height, width), *others = dict.fromkeys(shape[1:] for shape in shapes)
    if others:
        raise DataError(f"{path}: its images have different sizes")
    return TensorFile(path, (height, width, channels), tuple(shape[0] for shape in shapes))


def write_tensorfile(path: Path, batches: Iterable[Images]) -> int:
    """Write batches [N, H, W, C] of equal shapes to `path`, replacing it; return how many there were.

    Raises EnvironmentProblem when the file system refuses.
    """
    count = 0
    with replacing(path) as temporary, _new(temporary) as file:
        for batch in batches:
            data = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)
            file.attrs.setdefault("shape", data.shape)
            assert data.shape == tuple(file.attrs["shape"]), "TAO's reader wants batches of one shape"
            group = file.create_group(_name(count))
            group.create_dataset(_KEY, data=data, compression="gzip", chunks=(1, *data.shape[1:]))
            count += 1
        file.attrs["count"] = count
    return count


@contextmanager
def _new(path: Path) -> Iterator[h5py.File]:
    """A file to fill; raises OSError where the file system refuses."""
    with path.open("w+b", buffering=0) as content:
        disk = _Disk(content)
        try:
            with h5py.File(disk, "w") as file:
                yield file
        except (OSError, RuntimeError):
            disk.check()
            raise
        disk.check()


class _Disk:
    """A file for HDF5, which never hears of an error: closing what a full disk has cut off, it ends the process."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._error: OSError | None = None
        self.read, self.seek, self.tell, self.flush = file.read, file.seek, file.tell, file.flush

    def check(self) -> None:
        """Raise the first error there was."""
        if self._error is not None:
            raise self._error

    def write(self, data: memoryview) -> int:
        size, left = len(data), memoryview(data)
        try:
            while left and self._error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._error = error
        return size

    def readinto(self, target: memoryview) -> int:
        return self._file.readinto(target) or 0

    def truncate(self, size: int) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file at `path`; whatever is found wrong with it becomes a DataError that names it."""
    if not path.is_file():
        raise DataError(f"{path}: no such tensor file", hint="qatkit calibration_tensorfile makes one")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a tensor file, or damaged: {error}") from error


def _count(file: h5py.File) -> int:
    count = file.attrs.get("count")
    if not isinstance(count, np.integer) or count < 0:
        raise DataError("not a tensor file: it does not say how many batches it holds")
    return int(count)


def _batch(file: h5py.File, number: int) -> Any:
    """The dataset of a batch, [N, C, H, W]."""
    name = f"{_name(number)}/{_KEY}"
    dataset = file.get(name)
    # Links and external storage would read other files; TAO writes none of them.
    plain = isinstance(dataset, h5py.Dataset) and not dataset.external and not dataset.is_virtual
    if not plain or dataset.file.filename != file.filename:
        raise DataError(f"batch {number} is missing ({name})")
    if dataset.dtype.kind != "f" or len(dataset.shape) != 4 or 0 in dataset.shape or dataset.shape[1] not in (1, 3):
        raise DataError(f"batch {number} holds {dataset.dtype} of shape {dataset.shape}, not images [N, C, H, W]")
    if dataset.nbytes > _MOST_COMPRESSED * Path(file.filename).stat().st_size:
        raise DataError(f"batch {number} of shape {dataset.shape} cannot be in this file")
    return dataset


def _name(number: int) -> str:
    return f"{_KEY}_{number}"
