"""TFRecord files as such: any bytes, one record after the other, each guarded by checksums.

A record is its length (uint64), the checksum of those 8 bytes, the bytes, and their checksum; all little-endian.
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from qatkit.dataset.crc32c import masked_crc32c
from qatkit.errors import DataError, EnvironmentProblem

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


def read_record_file(path: Path) -> Iterator[bytes]:
    """Yield the records of one file, in order; a file of no bytes has none.

    Raises DataError when the file cannot be read, is no TFRecord file, or is damaged.
    """
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left:
                record = _next(file, left)
                if record is None:
                    raise DataError(f"{path}: not a TFRecord file, or damaged (at byte {file.tell()})")
                left -= len(record) + _LENGTH.size + 2 * _CHECKSUM.size
                yield record
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from error


def write_record_file(path: Path, records: Iterable[bytes]) -> int:
    """Write `records` to `path`, overwriting it; return how many there were.

    Raises EnvironmentProblem when the file system refuses.
    """
    count = 0
    try:
        with path.open("wb") as file:
            for record in records:
                length = _LENGTH.pack(len(record))
                for part in (length, record):
                    file.write(part + _CHECKSUM.pack(masked_crc32c(part)))
                count += 1
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot write: {error.strerror or error}") from error
    return count


def _next(file: BinaryIO, left: int) -> bytes | None:
    """The next record of a file in which `left` bytes are left; None where something else stands there."""
    length = _guarded(file, _LENGTH.size, left)
    if length is None:
        return None
    return _guarded(file, _LENGTH.unpack(length)[0], left - _LENGTH.size - _CHECKSUM.size)


def _guarded(file: BinaryIO, size: int, left: int) -> bytes | None:
    """`size` bytes that are followed by their checksum."""
    if size + _CHECKSUM.size > left:  # nothing is read, or memory taken, on the word of a damaged length
        return None
    data, checksum = file.read(size), file.read(_CHECKSUM.size)
    whole = len(data) == size and len(checksum) == _CHECKSUM.size
    return data if whole and _CHECKSUM.unpack(checksum)[0] == masked_crc32c(data) else None
