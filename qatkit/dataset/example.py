"""`tf.train.Example`, in protobuf's wire format, without TensorFlow.

    message Example   { Features features = 1; }
    message Features  { map<string, Feature> feature = 1; }
    message Feature   { oneof { BytesList = 1, FloatList = 2, Int64List = 3 }, each a repeated `value = 1` }

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Kind = Literal["", "bytes", "float", "int64"]
Values: TypeAlias = list[bytes] | NDArray[np.float32] | NDArray[np.int64]

_VARINT, _LENGTH_DELIMITED, _FIXED32 = 0, 2, 5
_FIXED = {1: 8, _FIXED32: 4}  # wire type -> bytes
# Tags: 8 * field number + wire type.
_LIST = _KEY = 8 * 1 + _LENGTH_DELIMITED
_VALUE = 8 * 2 + _LENGTH_DELIMITED
_INTEGER, _FLOAT = 8 * 1 + _VARINT, 8 * 1 + _FIXED32
_KINDS: Mapping[int, Kind] = {_LIST: "bytes", 8 * 2 + _LENGTH_DELIMITED: "float", 8 * 3 + _LENGTH_DELIMITED: "int64"}
_TAGS = {kind: tag for tag, kind in _KINDS.items()}
_ONE_BYTE = 0x7F  # the largest number that takes one byte, as nearly all tags and lengths do
_MOST_VARINT_BYTES = 10


@dataclass(frozen=True, eq=False)
class Feature:
    """The values of one key: a list of bytes, float32 [n] or int64 [n]; none at all where `kind` is ""."""

    kind: Kind
    values: Values


def parse_example(data: bytes, keys: Collection[str]) -> dict[str, Feature]:
    """The features of one serialized Example whose key is in `keys`; others are passed over.

    As protobuf has it: of a key given twice the last one counts, unknown fields mean nothing.
    Raises ValueError, whose message says what is wrong, when `data` is no Example.
    """
    entries = dict(_entry(entry) for features in _messages(data) for entry in _messages(features))
    return {key: _feature(entries[key.encode()]) for key in keys if key.encode() in entries}


def serialize_example(features: Mapping[str, Feature]) -> bytes:
    """`features` as an Example, in the order of their keys."""
    entries = sorted((key.encode(), feature) for key, feature in features.items())
    parts = [_field(_KEY, key) + _field(_VALUE, _serialized(feature)) for key, feature in entries]
    return _field(_LIST, b"".join(_field(_LIST, part) for part in parts))


def _serialized(feature: Feature) -> bytes:
    values = feature.values
    if isinstance(values, list):
        content = b"".join(_field(_LIST, value) for value in values)
    else:
        floats = values.dtype == np.float32
        packed = values.astype("<f4").tobytes() if floats else b"".join(map(_to_varint, values.tolist()))
        content = _field(_LIST, packed) if packed else b""
    return _field(_TAGS[feature.kind], content) if feature.kind else b""


def _field(tag: int, content: bytes) -> bytes:
    return _to_varint(tag) + _to_varint(len(content)) + content


def _to_varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    found = bytearray()
    while value > _ONE_BYTE:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _entry(data: bytes) -> tuple[bytes, bytes]:
    """Key and serialized value of a map's entry."""
    key = value = b""
    for tag, start, end in _fields(data):
        if tag == _KEY:
            key = data[start:end]
        elif tag == _VALUE:
            value += data[start:end]  # to concatenate messages is to merge them
    return key, value


def _feature(data: bytes) -> Feature:
    kind: Kind = ""
    parts: list[bytes] = []
    for tag, start, end in _fields(data):
        if tag not in _KINDS:
            continue
        if _KINDS[tag] != kind:  # another member of a oneof replaces the one before, the same one is merged
            kind, parts = _KINDS[tag], []
        parts.append(data[start:end])
    return Feature(kind, _LISTS[kind](b"".join(parts)))


def _float_list(data: bytes) -> NDArray[np.float32]:
    packed = _packed(data, _FLOAT)
    if len(packed) % 4:
        raise ValueError("a list of floats that ends within a float")
    return np.frombuffer(packed, "<f4")


def _int64_list(data: bytes) -> NDArray[np.int64]:
    packed = _packed(data, _INTEGER)
    values, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(value)
    return np.array(values, np.uint64).astype(np.int64)


_LISTS: Mapping[Kind, Callable[[bytes], Values]] = {
    "": lambda data: [],
    "bytes": lambda data: list(_messages(data)),
    "float": _float_list,
    "int64": _int64_list,
}


def _packed(data: bytes, single: int) -> bytes:
    """The numbers of a list, whether they stand in one field, as is usual, or each in its own with tag `single`."""
    return b"".join(data[start:end] for tag, start, end in _fields(data) if tag in (_LIST, single))


def _messages(data: bytes) -> Iterator[bytes]:
    """The contents of field 1 (messages, strings or bytes)."""
    return (data[start:end] for tag, start, end in _fields(data) if tag == _LIST)


def _fields(data: bytes) -> list[tuple[int, int, int]]:
    """Of every field of a message, in order: its tag (8 * number + wire type), where its content begins and ends."""
    fields = []
    at, size = 0, len(data)
    while at < size:
        tag, start = data[at], at + 1
        if tag > _ONE_BYTE:
            tag, start = _varint(data, at)
        wire_type = tag & 7
        if wire_type == _LENGTH_DELIMITED:
            length, start = _varint(data, start)
            at = start + length
        elif wire_type == _VARINT:
            at = _varint(data, start)[1]
        elif wire_type in _FIXED:
            at = start + _FIXED[wire_type]
        else:
            raise ValueError(f"a field of unknown wire type {wire_type} (before byte {start} of {size})")
        if tag < 8 or at > size:
            raise ValueError(f"a field that has number 0, or ends behind its message (at byte {start} of {size})")
        fields.append((tag, start, at))
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at byte `at`, 0..2**64 - 1, and where the next field begins."""
    if at < len(data) and data[at] <= _ONE_BYTE:
        return data[at], at + 1
    value = shift = 0
    for place in range(at, min(at + _MOST_VARINT_BYTES, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte <= _ONE_BYTE:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place + 1
        shift += 7
    raise ValueError(f"a number that does not end (at byte {at} of {len(data)})")
