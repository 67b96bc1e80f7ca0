"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), of many byte strings at once, masked as in TFRecord files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # bits in reversed order
_START = np.uint32(0xFFFFFFFF)
_BYTE, _EIGHT = np.uint32(0xFF), np.uint32(8)


def crc32c(strings: Sequence[bytes]) -> NDArray[np.uint32]:
    """The checksum of each of `strings`: uint32 [n]. Takes as many steps as the longest has bytes."""
    lengths = np.array([len(string) for string in strings], np.int64)
    checksums = np.empty(len(strings), np.uint32)
    # Of strings of about one length, so that they fill a rectangle.
    kinds = np.frexp(lengths)[1]
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        checksums[rows] = _side_by_side([strings[row] for row in rows.tolist()], lengths[rows])
    return checksums


def masked_crc32c(strings: Sequence[bytes]) -> NDArray[np.uint32]:
    """The checksums as TFRecord files store them, so that a checksum over stored checksums stays useful."""
    found = crc32c(strings)
    masked: NDArray[np.uint32] = (found >> np.uint32(15) | found << np.uint32(17)) + np.uint32(0xA282EAD8)
    return masked


def _side_by_side(strings: Sequence[bytes], lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The checksums of strings of falling length."""
    columns = np.zeros((len(strings), lengths[0]), np.uint8)
    for row, string in zip(columns, strings):
        row[: len(string)] = np.frombuffer(string, np.uint8)
    having = np.searchsorted(-lengths, -np.arange(1, lengths[0] + 1), side="right")
    states = np.full(len(strings), _START)
    for column, count in zip(np.ascontiguousarray(columns.T), having.tolist()):
        head = states[:count]
        states[:count] = _TABLE[(head ^ column[:count]) & _BYTE] ^ head >> _EIGHT
    return states ^ _START


def _table() -> NDArray[np.uint32]:
    """What a byte does to the state, uint32 [256]."""
    row: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = row >> np.uint32(1) ^ (row & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return row


_TABLE = _table()
