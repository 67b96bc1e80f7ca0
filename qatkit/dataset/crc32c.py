"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), and the masked form of it in TFRecord files."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # bits in reversed order
_BLOCK = 1024  # bytes that are looked up at once


def crc32c(data: bytes) -> int:
    """The checksum of `data`, 0..2**32 - 1."""
    table, rows = _contributions()
    state = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK):
        block = np.frombuffer(data, np.uint8, min(_BLOCK, len(data) - start), start).astype(np.int64)
        # What has been read so far acts on the next four bytes; what it has beyond the end stays.
        head = block[:4]
        head ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)[: len(head)]
        state = int(np.bitwise_xor.reduce(table[block + rows[-len(block) :]])) ^ (state >> 8 * len(block))
    return state ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord files store it, so that a checksum over stored checksums stays useful."""
    checksum = crc32c(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _contributions() -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """What byte b with d bytes after it adds to a checksum, at [256 d + b]; and 256 d for d = _BLOCK - 1 ... 0."""
    table = np.empty((_BLOCK, 256), np.uint32)
    row: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = (row >> 1 ^ (row & 1) * np.uint32(_POLYNOMIAL)).astype(np.uint32)
    table[0] = row
    for distance in range(1, _BLOCK):
        last = table[distance - 1]
        table[distance] = last >> 8 ^ row[last & 0xFF]
    return table.ravel(), np.arange(_BLOCK - 1, -1, -1) * 256
