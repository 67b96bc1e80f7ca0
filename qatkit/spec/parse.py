"""Protobuf text <-> messages, with errors that a user can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from qatkit.errors import SpecError
from qatkit.spec import messages

M = TypeVar("M", bound=Message)

# The largest published spec has 30 KB; a larger file is a model or a data file given by mistake.
_MAX_BYTES = 4 << 20
_SHOWN = 160  # characters of a faulty line

_ROOTS = {
    "Experiment": "a training spec",
    "DatasetExportConfig": "a dataset_convert spec",
    "Inference": "an inference spec",
}

_UNKNOWN_FIELD = re.compile(r'Message type "([^"]+)" has no field named "([^"]*)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([^"]+)" has no value named (.*)\.$')
_REWORDED = (
    (re.compile(r"Couldn't parse integer: (.*)"), r"expected a whole number, found \1"),
    (re.compile(r"Couldn't parse float: (.*)"), r"expected a number, found \1"),
    (re.compile(r"Expected string but found: '(.*)'"), r"expected a string in quotes, found \1"),
    (re.compile(r"Expected identifier or number, got (.*)\."), r"expected the name of a field, found \1"),
    (re.compile(r'Expected "true" or "false"\.'), "expected true or false"),
    (re.compile(r'Message type "[^"]+" does not have extensions\.'), "expected the name of a field, found ["),
)


def read_text(path: Path) -> str:
    """The text of a spec file. Raises SpecError when it cannot be read, is too large, or is not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: a folder, not a spec file") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot read: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise SpecError(f"{path}: more than {_MAX_BYTES >> 20} MiB, not a spec file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path}:{line}: not UTF-8 text", hint="a spec file is plain text") from None


def parse(text: str, message_type: type[M], source: str) -> M:
    """A new message from protobuf text, with merge semantics: of a scalar given twice the last value counts, the
    pieces of a message given twice are merged.

    Raises SpecError that names `source`, line and column.
    """
    message: M = message_type()
    try:
        text_format.Merge(text, message)
    except text_format.ParseError as error:
        raise _located(error, text, message.DESCRIPTOR.name, source) from None
    if not message.ListFields():
        raise SpecError(f"{source}: empty", hint=f"{_ROOTS.get(message.DESCRIPTOR.name, 'a spec')} is expected")
    return message


def to_text(message: Message) -> str:
    """Protobuf text that `parse` reads back to an equal message; fields with their proto3 default are left out."""
    text: str = text_format.MessageToString(message, as_utf8=True)
    return text


def to_json(message: Message) -> dict[str, Any]:
    """All values of the blocks that are present, those with their proto3 default too, by the names in a spec file."""
    values: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return values


def _located(error: text_format.ParseError, text: str, root: str, source: str) -> SpecError:
    number, column = error.GetLine() or 1, error.GetColumn() or 1
    line = text.split("\n")[number - 1]
    # "2:15 : '  num_epochs: abc': Couldn't parse integer: abc", the quoted line only with some errors.
    reason = str(error).removeprefix(f"{number}:{column} : ").removeprefix(f"'{line}': ")
    what, hint = _explain(reason, root)
    message = f'{source}:{number}:{column}: {_shortened(what)}: "{_shortened(line.strip())}"'
    return SpecError(printable(message), hint=printable(_shortened(hint)))


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _explain(reason: str, root: str) -> tuple[str, str]:
    """What is wrong, and a hint that may be empty, in words that a user of specs knows."""
    if found := _UNKNOWN_FIELD.match(reason):
        return _unknown_field(found[1], found[2], root)
    if found := _UNKNOWN_VALUE.match(reason):
        return _unknown_value(found[1], found[2])
    if reason == 'Expected "}".':
        return 'expected "}"', "a brace is not closed"
    for pattern, words in _REWORDED:
        if found := pattern.fullmatch(reason):
            return found.expand(words), ""
    return reason[:1].lower() + reason[1:].rstrip("."), ""


def _unknown_field(full_name: str, name: str, root: str) -> tuple[str, str]:
    kind = _descriptors()[full_name]
    what = f'unknown field "{name}" in {_shown_name(kind)}'
    owners = [owner.name for owner in _descriptors().values() if name in owner.fields_by_name]
    other = next((owner for owner in owners if owner in _ROOTS), None)
    if other and kind.name == root:
        return what, f"it belongs in {_ROOTS[other]}; this file is read as {_ROOTS[root]}"
    if nearest := _nearest(name, [field.name for field in kind.fields]):
        return what, f'did you mean "{nearest}"?'
    return what, f"it belongs in {owners[0]}" if owners else ""


def _unknown_value(full_name: str, name: str) -> tuple[str, str]:
    values = next(
        [value.name for value in kind.values]
        for owner in _descriptors().values()
        for kind in owner.enum_types
        if kind.full_name == full_name
    )
    return f'unknown value "{name}" of {full_name.rpartition(".")[2]}', f"one of {', '.join(values)}"


def _nearest(name: str, names: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(name, names, 1)), "")


def _shown_name(kind: Descriptor) -> str:
    """The name of a message type; of the entries of a map, the name of the map."""
    if kind.GetOptions().map_entry:
        return str(next(field.name for field in kind.containing_type.fields if field.message_type == kind))
    return str(kind.full_name.removeprefix("qatkit."))


@lru_cache(maxsize=1)
def _descriptors() -> dict[str, Descriptor]:
    """All message types by full name, nested ones and map entries too."""
    tops = [getattr(messages, name).DESCRIPTOR for name in messages.__all__]
    return {kind.full_name: kind for top in tops for kind in _nested(top)}


def _nested(kind: Descriptor) -> Iterator[Descriptor]:
    yield kind
    for inner in kind.nested_types:
        yield from _nested(inner)


def printable(text: str) -> str:
    """`text`, parts of which a user wrote, on one line: what a terminal cannot show becomes U+FFFD."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text.replace("\t", " "))
