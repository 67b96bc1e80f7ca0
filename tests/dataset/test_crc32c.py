from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from qatkit.dataset.crc32c import crc32c, masked_crc32c


# RFC 3720, B.4, and the check value of the catalogue of CRCs.
@pytest.mark.parametrize(
    "data, checksum",
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_known_checksums(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


def bit_by_bit(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 1023, 1024, 1025, 1026, 1027, 1028, 3000])
def test_every_length_around_a_block(length: int) -> None:
    data = bytes(7 * number % 251 for number in range(length))
    assert crc32c(data) == bit_by_bit(data)


@given(st.binary(max_size=3000))
def test_is_the_checksum_bit_by_bit(data: bytes) -> None:
    assert crc32c(data) == bit_by_bit(data)


def test_masked_as_in_record_files(tmp_path: object) -> None:
    path = f"{tmp_path}/records"
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"some bytes")
    with open(path, "rb") as file:  # noqa: PTH123 - a plain name
        content = file.read()
    assert masked_crc32c(content[:8]) == int.from_bytes(content[8:12], "little")
    assert masked_crc32c(b"some bytes") == int.from_bytes(content[-4:], "little")
