from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.dataset.example import Kind, parse_example

KINDS: dict[str, Kind] = {"a": "bytes", "b": "int64", "c": "float"}


def by_tensorflow(data: bytes) -> dict[str, list[Any]]:
    found = tf.train.Example.FromString(data).features.feature
    return {
        key: list(getattr(found[key], f"{kind}_list").value) if key in found else [] for key, kind in KINDS.items()
    }


def bits(values: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Floats as their bits, so that NaN is equal to itself."""
    return {**values, "c": np.array(values["c"], np.float32).view(np.int32).tolist()}


def example(**features: tf.train.Feature) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def integers(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def texts(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field; its content is shorter than 128 bytes."""
    return bytes([8 * number + 2, len(content)]) + content


def entry(feature: bytes, key: bytes) -> bytes:
    """An Example with one key, its Feature as given."""
    return field(1, field(1, field(1, key) + field(2, feature)))


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", {}),
        (example(), {}),
        (example(a=tf.train.Feature()), {}),
        (example(c=floats()), {}),
        (example(a=floats(1), b=texts(b"1"), c=integers(1)), {}),  # of another kind
        (example(a=texts(b"", b"x" * 200), d=texts(b"other")), {"a": [b"", b"x" * 200]}),
        (example(b=integers(0, 127, 128, -1, 2**63 - 1)), {"b": [0, 127, 128, -1, 2**63 - 1]}),
        (example(c=floats(1.5, -2.0, 3e38)), {"c": np.float32([1.5, -2, 3e38]).tolist()}),
        (entry(field(2, b"\x0d" + np.float32(2.5).tobytes()), b"c"), {"c": [2.5]}),  # not packed
        (entry(field(3, b"\x08\x05\x08\x80\x01"), b"b"), {"b": [5, 128]}),
        (entry(field(3, b"\x08\x05" + field(1, b"\x06\x07")), b"b"), {"b": [5, 6, 7]}),  # both
        (entry(field(1, field(1, b"x")), b"a") + entry(field(1, field(1, b"y")), b"a"), {"a": [b"y"]}),  # the last
        (b"\x10\x01" + b"\x19" + bytes(8) + b"\x25" + bytes(4), {}),  # fields that nobody knows
    ],
)
def test_values(data: bytes, expected: dict[str, list[Any]]) -> None:
    assert parse_example(data, KINDS) == {key: expected.get(key, []) for key in KINDS} == by_tensorflow(data)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05abc", b"\x80" * 11, b"\x02\x00", entry(field(2, b"\x0aabc"), b"c")]
)
def test_what_is_no_example(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no tf\.train\.Example"):
        parse_example(data, KINDS)


values = st.one_of(
    st.lists(st.floats(width=32), max_size=4).map(lambda value: floats(*value)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda value: integers(*value)),
    st.lists(st.binary(max_size=200), max_size=4).map(lambda value: texts(*value)),
)


@given(st.dictionaries(st.sampled_from([*KINDS, "d"]), values, max_size=4))
def test_reads_what_tensorflow_writes(features: dict[str, tf.train.Feature]) -> None:
    data = example(**features)
    assert bits(parse_example(data, KINDS)) == bits(by_tensorflow(data))


SAMPLE = example(a=texts(b"first", b"second"), b=integers(300, -5), c=floats(1.0, 2.0))


@given(
    st.one_of(
        st.binary(max_size=64),
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)).map(
            lambda change: SAMPLE[: change[0]] + bytes([change[1]]) + SAMPLE[change[0] + 1 :]
        ),
        st.integers(0, len(SAMPLE)).map(lambda length: SAMPLE[:length]),
    )
)
@settings(max_examples=500)
def test_any_bytes_are_read_as_tensorflow_does_or_refused(data: bytes) -> None:
    try:
        found = bits(parse_example(data, KINDS))
    except ValueError:
        return
    assert found == bits(by_tensorflow(data))
