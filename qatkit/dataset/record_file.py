"""TFRecord files as such: any bytes, one record after the other, each guarded by checksums.

A record is its length (uint64), the checksum of those 8 bytes, the bytes, and their checksum; all little-endian.
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from qatkit.dataset.crc32c import masked_crc32c
from qatkit.errors import DataError, EnvironmentProblem
from qatkit.files import reason

_LENGTH = struct.Struct("<Q")
_CHECKSUM = np.dtype("<u4")
_AROUND = _LENGTH.size + 2 * _CHECKSUM.itemsize
# Records whose checksums are computed at once: so many, or so many bytes.
_RECORDS, _BYTES = 4096, 1 << 23


def read_record_file(path: Path) -> Iterator[bytes]:
    """Yield the records of one file, in order; a file of no bytes has none.

    Raises DataError when the file cannot be read, is no TFRecord file, or is damaged.
    """
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left:
                start = file.tell()
                records, whole = _next(file, left)
                yield from records
                size = sum(map(len, records)) + _AROUND * len(records)
                if not whole:
                    raise DataError(f"{path}: not a TFRecord file, or damaged (at byte {start + size})")
                left -= size
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from error


def write_record_file(path: Path, records: Iterable[bytes], known_as: Path | None = None) -> int:
    """Write `records` to `path`, overwriting it; return how many there were.

    known_as: how an error names the file, where `path` is a temporary one.
    Raises EnvironmentProblem when the file system refuses.
    """
    count, remaining = 0, iter(records)
    try:
        with path.open("wb") as file:
            while some := list(islice(remaining, _RECORDS)):
                lengths = [_LENGTH.pack(len(record)) for record in some]
                guards = [masked_crc32c(parts).astype(_CHECKSUM) for parts in (lengths, some)]
                for length, record, first, second in zip(lengths, some, *guards):
                    file.write(length + first.tobytes() + record + second.tobytes())
                count += len(some)
    except OSError as error:
        raise EnvironmentProblem(f"{known_as or path}: cannot write: {reason(error)}") from error
    return count


def _next(file: BinaryIO, left: int) -> tuple[list[bytes], bool]:
    """The next records of a file in which `left` bytes are left, and whether something else stands behind them."""
    lengths: list[bytes] = []
    records: list[bytes] = []
    stored, size, ended = bytearray(), 0, False
    while left and len(records) < _RECORDS and size < _BYTES:
        ended = True
        length = file.read(_LENGTH.size)
        # Nothing is read, or memory taken, on the word of a damaged length.
        found = _LENGTH.unpack(length)[0] + _AROUND if len(length) == _LENGTH.size else left + 1
        if found > left:
            break
        stored += file.read(_CHECKSUM.itemsize)
        lengths.append(length)
        records.append(file.read(found - _AROUND))
        stored += file.read(_CHECKSUM.itemsize)
        left, size, ended = left - found, size + found, False
    good = _good(lengths, records, bytes(stored))
    return records[:good], good == len(records) and not ended


def _good(lengths: list[bytes], records: list[bytes], stored: bytes) -> int:
    """How many of the records, from the first on, have the checksums that are `stored`."""
    expected = np.stack([masked_crc32c(lengths), masked_crc32c(records)], axis=1).astype(_CHECKSUM)
    found = np.frombuffer(stored.ljust(expected.nbytes), _CHECKSUM).reshape(-1, 2)  # a file may shrink meanwhile
    good = (found == expected).all(axis=1)
    return len(records) if good.all() else int(good.argmin())
