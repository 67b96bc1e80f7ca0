from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.dataset.record_file import read_record_file
from qatkit.errors import DataError


def written(path: Path, records: list[bytes]) -> Path:
    """A file by TensorFlow's own writer."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


@pytest.mark.parametrize("records", [[], [b""], [b"a"], [b"", b"abc", bytes(5000), b"z" * 1024]])
def test_reads_what_tensorflow_writes(tmp_path: Path, records: list[bytes]) -> None:
    assert list(read_record_file(written(tmp_path / "records", records))) == records


def test_records_before_the_damage_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "records", [b"one", b"two"])
    path.write_bytes(path.read_bytes()[:-1])
    records = read_record_file(path)
    assert next(records) == b"one"
    with pytest.raises(DataError, match=r"records: not a TFRecord file, or damaged \(at byte 19\)"):
        next(records)


@pytest.mark.parametrize("data", [b"short", b"{}" * 100, b"\x1f\x8b" + bytes(30), bytes(12), b"\xff" * 64])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(DataError, match="other: not a TFRecord file, or damaged"):
        list(read_record_file(tmp_path / "other"))


def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    from qatkit.dataset.crc32c import masked_crc32c

    length = (1 << 60).to_bytes(8, "little")
    (tmp_path / "a").write_bytes(length + masked_crc32c([length]).astype("<u4").tobytes() + b"abc")
    with pytest.raises(DataError, match="damaged"):
        list(read_record_file(tmp_path / "a"))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            list(read_record_file(path))


RECORDS = [b"", b"a record", b"x" * 300]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage_is_noticed(data: st.DataObject) -> None:
    """One changed byte, or a cut: the records before it are as they were, and then the file is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "records"), RECORDS)
        whole = path.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            path.write_bytes(whole[:place])
        else:
            path.write_bytes(
                whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
            )
        read = []
        try:
            for record in read_record_file(path):
                read.append(record)
        except DataError:
            assert read == RECORDS[: len(read)] and len(read) < len(RECORDS)
        else:
            assert path.stat().st_size in (0, 16, 40)  # cut between two records
            assert read == RECORDS[: len(read)] and len(read) < len(RECORDS)
