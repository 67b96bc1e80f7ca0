from __future__ import annotations

import tracemalloc

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
    assert crc32c([data]).tolist() == [checksum]


def bit_by_bit(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def test_none() -> None:
    assert crc32c([]).tolist() == []


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_many_at_once_are_the_checksums_bit_by_bit(strings: list[bytes]) -> None:
    assert crc32c(strings).tolist() == [bit_by_bit(data) for data in strings]


def test_one_long_string_among_short_ones_takes_no_memory() -> None:
    tracemalloc.start()
    found = crc32c([b"", *[b"123456789"] * 1000, bytes(100_000)])
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert set(found[1:-1].tolist()) == {0xE3069283}


def test_masked_as_in_record_files(tmp_path: object) -> None:
    path = f"{tmp_path}/records"
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"some bytes")
    with open(path, "rb") as file:  # noqa: PTH123 - a plain name
        content = file.read()
    stored = [int.from_bytes(content[8:12], "little"), int.from_bytes(content[-4:], "little")]
    assert masked_crc32c([content[:8], b"some bytes"]).tolist() == stored
