"""What the text of the packages says of the fields of a spec; `test_effects` shows what they do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

import qatkit
from qatkit.spec import DatasetExportConfig, Experiment, Inference
from qatkit.spec.effects import UNUSED

PACKAGE = Path(qatkit.__file__).parent
SOURCE = "\n".join(
    path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "spec"
)

# Used by the spec package itself, or without meaning when `cost_scaling.enabled`, which is told of, is not set.
SETTLED_HERE = {"confidence_threshold", "dataloader_mode", "initial_exponent", "increment", "decrement"}


def fields(kind: Descriptor) -> Iterator[tuple[str, str]]:
    """(type, field) of `kind` and of the messages in it, except those that the table names."""
    name = kind.full_name.removeprefix("qatkit.")
    for field in kind.fields:
        if field.name in UNUSED.get(name, ()):
            continue
        told_inside = (
            field.message_type is not None and field.message_type.full_name.removeprefix("qatkit.") in UNUSED
        )
        if not kind.GetOptions().map_entry and not told_inside:
            yield name, field.name
        if field.message_type is not None:
            yield from fields(field.message_type)


REACHED = sorted(
    {field for root in (Experiment, DatasetExportConfig, Inference) for field in fields(root.DESCRIPTOR)}
)


def is_attribute(field: str) -> bool:
    """Whether code outside the spec package reads `something.field`."""
    return re.search(rf"\.{field}\b", SOURCE) is not None


def is_read(field: str) -> bool:
    """Whether code outside the spec package has the field as an attribute, or as a string for `getattr`."""
    return is_attribute(field) or f'"{field}"' in SOURCE


def test_fields_are_used_or_told_of() -> None:
    assert [f"{kind}.{field}" for kind, field in REACHED if field not in SETTLED_HERE and not is_read(field)] == []


# Words that other objects use too, so that code has them for other reasons.
COMMON = {"activation", "parser", "enabled"}
OWNERS = Counter(field for _, field in REACHED) + Counter(field for names in UNUSED.values() for field in names)


@pytest.mark.parametrize(
    "kind, field",
    # A name that another message has too says nothing.
    [
        (kind, field)
        for kind, names in UNUSED.items()
        for field in names
        if OWNERS[field] == 1 and field not in COMMON
    ],
)
def test_what_is_told_of_is_not_used(kind: str, field: str) -> None:
    assert not is_attribute(field), f"{kind}.{field} is used now: take it out of qatkit/spec/effects.py"
