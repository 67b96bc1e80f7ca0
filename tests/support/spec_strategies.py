"""Messages with anything in them that they can hold, and texts that resemble specs."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from qatkit.spec import DatasetExportConfig, Experiment, Inference
from qatkit.spec.walk import walk

ROOTS = (Experiment, DatasetExportConfig, Inference)


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Any value of a scalar field, numbers that no enum value has included."""
    kinds = {
        FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
        FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False),
        FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
        FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
        FieldDescriptor.CPPTYPE_STRING: st.text(st.characters(codec="utf-8"), max_size=8),
        FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 2),
    }
    return kinds[field.cpp_type]


def fill(draw: st.DrawFn, message: Message) -> None:
    """Set some fields of `message` to anything that they can hold."""
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        value = getattr(message, field.name)
        if field.message_type is None and field.is_repeated:
            value.extend(draw(st.lists(scalar(field), max_size=2)))
        elif field.message_type is None:
            setattr(message, field.name, draw(scalar(field)))
        elif field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name["value"]
            for key in draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), max_size=2)):
                if entry.message_type:
                    fill(draw, value[key])
                else:
                    value[key] = draw(scalar(entry))
        elif field.is_repeated:
            fill(draw, value.add())
        else:
            value.SetInParent()
            fill(draw, value)


@st.composite
def any_message(draw: st.DrawFn) -> Message:
    """A spec message that hardly ever makes sense."""
    message = draw(st.sampled_from(ROOTS))()
    fill(draw, message)
    return message


@st.composite
def changed(draw: st.DrawFn, spec: Message) -> Message:
    """`spec` with up to three scalars changed to anything that they can hold."""
    result = type(spec)()
    result.CopyFrom(spec)
    for _ in range(draw(st.integers(0, 3))):
        _, message = draw(st.sampled_from(list(walk(result))))
        fields = [field for field in message.DESCRIPTOR.fields if not (field.message_type or field.is_repeated)]
        if fields:
            field = draw(st.sampled_from(fields))
            setattr(message, field.name, draw(scalar(field)))
    return result


# Pieces of real specs in any order come much closer to the grammar than random characters do.
_WORDS = r"""
training_config model_config kitti_config dataset_config target_class_mapping freeze_blocks key value num_epochs arch
validation_fold data_sources regularizer type enable_qat { } < > [ ] : ; , # ' " "car" '\xff' "\ud800"
1 -1 0.05 1e400 nan inf 0x1 L2 true
"""
_PIECES = [*_WORDS.split(), "9" * 5000, " ", "\n", "\t", "\r", "\0", "é"]

any_text = st.one_of(st.text(), st.lists(st.sampled_from(_PIECES), max_size=30).map(" ".join))
