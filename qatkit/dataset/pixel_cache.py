"""Decoded images kept for the next time: in memory, in a file, or not at all."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL
from numpy.typing import NDArray

from qatkit import console
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout, Pixels

ENDING = ".pixels"
# What a file keeps of each image in front of all pixels; an image that is not there has only zeros.
_STAMP = np.dtype([("bytes", "<i8"), ("changed", "<i8"), ("crc", "<i8")])


@dataclass(frozen=True)
class Cache:
    """Where decoded images are kept: in so many bytes of memory, or in a file whose name begins with `file`."""

    memory: int = 0
    file: Path | None = None

    def open(self, frames: FrameTable, layout: ImageLayout, *, whole: bool) -> Store:
        """Room for the images of `frames`. whole: before their windows are cut out."""
        if self.file is None:
            return _Memory(self.memory)
        return _File(self.file, frames, layout, whole=whole)


NOT_KEPT = Cache()


class Store(Protocol):
    """Images by their row in the table, uint8 [h, w, C]. Threads use it."""

    def get(self, row: int) -> Pixels | None: ...

    def put(self, row: int, pixels: Pixels) -> None: ...


class _Memory:
    """As many images as fit into `size` bytes."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._kept: dict[int, Pixels] = {}

    def get(self, row: int) -> Pixels | None:
        return self._kept.get(row)

    def put(self, row: int, pixels: Pixels) -> None:
        if self._left >= pixels.nbytes:
            self._left -= pixels.nbytes
            self._kept[row] = np.ascontiguousarray(pixels)


class _File:
    """All images, in a file that outlives the process: what another one decoded is used if the picture is the same.

    That is, if size and time of change of the picture's file, and the checksum of the pixels, are those kept with it.
    Images of another table, or laid out otherwise, are in a file of another name, which is removed. The pixels are
    written before the stamp that makes them valid; where the file system refuses, images are decoded each time.
    """

    def __init__(self, prefix: Path, frames: FrameTable, layout: ImageLayout, *, whole: bool) -> None:
        self._paths = frames.image_paths
        self._shapes = _shapes(frames, layout, whole=whole)
        self._channels = layout.channels
        ends = np.cumsum(self._shapes.prod(axis=1) * layout.channels)
        self._offsets = np.concatenate([[0], ends]) + len(frames) * _STAMP.itemsize
        self._proven = np.zeros(len(frames), np.bool_)  # by this process
        self._refused = threading.Event()
        self._path = prefix.with_name(f"{prefix.name}-{_key(frames, layout, whole=whole)}{ENDING}")
        self._file = self._opened(prefix.name)

    def get(self, row: int) -> Pixels | None:
        if self._file is None:
            return None
        try:
            return self._read(self._file, row)
        except OSError:  # what cannot be read is decoded
            return None

    def put(self, row: int, pixels: Pixels) -> None:
        if self._file is None or self._refused.is_set() or pixels.shape[:2] != tuple(self._shapes[row]):
            return
        try:
            facts = os.stat(self._paths[row])  # noqa: PTH116 - strings, for there may be millions
            pixels = np.ascontiguousarray(pixels)
            _write(self._file, pixels.data, int(self._offsets[row]))
            stamp = np.array([(facts.st_size, facts.st_mtime_ns, zlib.crc32(pixels.data))], _STAMP)
            _write(self._file, stamp.tobytes(), row * _STAMP.itemsize)
        except OSError as error:
            self._refuse(error)
            return
        self._proven[row] = True

    def _read(self, file: int, row: int) -> Pixels | None:
        stamp = np.zeros((), _STAMP)
        os.preadv(file, [stamp.data], row * _STAMP.itemsize)
        if not stamp["bytes"]:
            return None
        pixels = np.empty((*self._shapes[row], self._channels), np.uint8)
        if os.preadv(file, [pixels.data], int(self._offsets[row])) != pixels.nbytes:
            return None
        if not self._proven[row]:
            facts = os.stat(self._paths[row])  # noqa: PTH116
            found = (facts.st_size, facts.st_mtime_ns, zlib.crc32(pixels.data))
            if found != stamp.item():
                return None
            self._proven[row] = True
        return pixels

    def _opened(self, name: str) -> int | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for other in self._path.parent.glob(f"{name}-*{ENDING}"):
                if other != self._path:
                    other.unlink(missing_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            self._refuse(error)
            return None

    def _refuse(self, error: OSError) -> None:
        if not self._refused.is_set():
            self._refused.set()
            console.warn(
                f"{self._path}: cannot keep decoded images here: {error.strerror}; they are decoded each time"
            )

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]


def decoded_bytes(frames: FrameTable, layout: ImageLayout, *, whole: bool) -> int:
    """What all images take when they are decoded. whole: before their windows are cut out."""
    return int(_shapes(frames, layout, whole=whole).prod(axis=1).sum()) * layout.channels


def _shapes(frames: FrameTable, layout: ImageLayout, *, whole: bool) -> NDArray[np.int64]:
    """[N, 2] height and width of each decoded image."""
    if not whole:
        return np.tile(np.array([[layout.height, layout.width]], np.int64), (len(frames), 1))
    different, rows = np.unique(frames.sizes, axis=0, return_inverse=True)
    canvases = [layout.padded((width, height))[::-1] for width, height in different.tolist()]
    return np.array(canvases, np.int64).reshape(-1, 2)[rows.reshape(-1)]


def _key(frames: FrameTable, layout: ImageLayout, *, whole: bool) -> str:
    digest = hashlib.sha256(repr((1, layout, whole, PIL.__version__)).encode())
    paths = "\n".join(frames.image_paths).encode(errors="surrogateescape")
    for part in (paths, frames.sizes.tobytes(), frames.upright.tobytes()):
        digest.update(part)
    return digest.hexdigest()[:16]


def _write(file: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
