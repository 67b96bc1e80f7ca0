"""`tf.train.Example` without TensorFlow: its messages, as `tensorflow/core/example` has them, by protobuf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

Kind = Literal["bytes", "float", "int64"]

_PACKAGE = "qatkit.example"  # its own, so that TensorFlow's, imported beside it, is another one
_MESSAGES = """
  message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
  message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
  message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
  message_type {
    name: "Feature"
    oneof_decl { name: "kind" }
    field { name: "bytes" number: 1 label: LABEL_OPTIONAL type_name: "BytesList" oneof_index: 0 }
    field { name: "float" number: 2 label: LABEL_OPTIONAL type_name: "FloatList" oneof_index: 0 }
    field { name: "int64" number: 3 label: LABEL_OPTIONAL type_name: "Int64List" oneof_index: 0 }
  }
  message_type {
    name: "Features"
    field { name: "feature" number: 1 label: LABEL_REPEATED type_name: "FeatureEntry" }
    nested_type {
      name: "FeatureEntry"
      field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
      field { name: "value" number: 2 label: LABEL_OPTIONAL type_name: "Feature" }
      options { map_entry: true }
    }
  }
  message_type {
    name: "Example" field { name: "features" number: 1 label: LABEL_OPTIONAL type_name: "Features" }
  }
"""


def _example() -> Any:
    """The class of the message."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_MESSAGES, file))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


_Example = _example()


def parse_example(data: bytes, kinds: Mapping[str, Kind]) -> dict[str, list[Any]]:
    """The values of each key in `kinds` in one serialized Example; none where it has none of this kind.

    Raises ValueError when `data` is no Example.
    """
    try:
        found = _Example.FromString(data).features.feature
    except DecodeError:
        raise ValueError("it is no tf.train.Example") from None
    return {key: getattr(found[key], kind).value[:] if key in found else [] for key, kind in kinds.items()}


def serialize_example(features: Mapping[str, tuple[Kind, Sequence[Any]]]) -> bytes:
    """`features`, each with its kind, as an Example, in the order of their keys."""
    example = _Example()
    for key, (kind, values) in features.items():
        found = getattr(example.features.feature[key], kind)
        found.SetInParent()  # an empty list has a kind too
        found.value.extend(values)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized
