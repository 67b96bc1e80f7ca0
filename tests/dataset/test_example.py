from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.dataset.example import Feature, parse_example

KEYS = ("a", "b", "c")
Plain = dict[str, tuple[str, list[Any]]]


def plain(features: dict[str, Feature]) -> Plain:
    """Kind and values of each key; floats as their bits, so that NaN is equal to itself."""
    return {
        key: (
            feature.kind,
            feature.values.view(np.int32).tolist() if feature.kind == "float" else list(feature.values),
        )
        for key, feature in features.items()
    }


def by_protobuf(data: bytes) -> Plain:
    example = tf.train.Example.FromString(data)
    values: Plain = {}
    for key, feature in example.features.feature.items():
        kind = (feature.WhichOneof("kind") or "").removesuffix("_list")
        found = list(getattr(feature, f"{kind}_list").value) if kind else []
        values[key] = (kind, np.array(found, np.float32).view(np.int32).tolist() if kind == "float" else found)
    return {key: values[key] for key in KEYS if key in values}


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


def entry(feature: bytes, key: bytes = b"a") -> bytes:
    """An Example with one key, its Feature as given."""
    return field(1, field(1, field(1, key) + field(2, feature)))


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", {}),
        (example(), {}),
        (example(a=tf.train.Feature()), {"a": ("", [])}),
        (example(a=floats()), {"a": ("float", [])}),
        (example(a=texts(b"", b"x" * 200), d=texts(b"other")), {"a": ("bytes", [b"", b"x" * 200])}),
        (example(b=integers(0, 127, 128, -1, 2**63 - 1)), {"b": ("int64", [0, 127, 128, -1, 2**63 - 1])}),
        (entry(field(3, b"\x08\x05\x08\x80\x01")), {"a": ("int64", [5, 128])}),  # not packed
        (entry(field(3, b"\x08\x05" + field(1, b"\x06\x07"))), {"a": ("int64", [5, 6, 7])}),  # both
        (entry(field(1, field(1, b"x")) + field(3, field(1, b"\x06"))), {"a": ("int64", [6])}),  # the last kind
        (entry(field(1, field(1, b"x"))) + entry(field(1, field(1, b"y"))), {"a": ("bytes", [b"y"])}),  # the last key
        (b"\x10\x01" + b"\x19" + bytes(8) + b"\x25" + bytes(4), {}),  # fields that nobody knows
    ],
)
def test_values(data: bytes, expected: Plain) -> None:
    assert plain(parse_example(data, KEYS)) == expected == by_protobuf(data)


def test_float_values() -> None:
    packed = parse_example(example(a=floats(1.5, -2.0, 3e38)), KEYS)["a"]
    assert packed.kind == "float" and packed.values.tolist() == np.float32([1.5, -2, 3e38]).tolist()
    single = entry(field(2, b"\x0d" + np.float32(2.5).tobytes()))
    assert parse_example(single, KEYS)["a"].values.tolist() == [2.5]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\x0a", "a number that does not end"),
        (b"\x0a\x05abc", "ends behind its message"),
        (b"\x80" * 11, "a number that does not end"),
        (b"\x02\x00", "number 0"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x09" + bytes(7), "ends behind its message"),
        (entry(field(2, field(1, b"abc"))), "ends within a float"),
        (entry(field(3, field(1, b"\x80"))), "a number that does not end"),
    ],
)
def test_what_is_no_example(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_example(data, KEYS)


values = st.one_of(
    st.lists(st.floats(width=32), max_size=4).map(lambda value: floats(*value)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda value: integers(*value)),
    st.lists(st.binary(max_size=200), max_size=4).map(lambda value: texts(*value)),
)


@given(st.dictionaries(st.sampled_from([*KEYS, "d"]), values, max_size=4))
def test_reads_what_protobuf_writes(features: dict[str, tf.train.Feature]) -> None:
    data = example(**features)
    assert plain(parse_example(data, KEYS)) == by_protobuf(data)


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
def test_any_bytes_are_read_as_protobuf_does_or_refused(data: bytes) -> None:
    try:
        found = plain(parse_example(data, KEYS))
    except ValueError:
        return
    try:
        expected = by_protobuf(data)
    except Exception:  # stricter: it also looks at keys and fields that are passed over here
        return
    # An entry of the map with an unknown field in it is none to protobuf, and one without a value here.
    assert {key: value for key, value in found.items() if value[0]} == {
        key: value for key, value in expected.items() if value[0]
    }
