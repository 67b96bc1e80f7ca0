"""All messages inside a message, each with the path a user knows it by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message


def walk(message: Message, path: str = "", skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, Message]]:
    """Yield (path, message) for `message` and for every message that is present in it, top down.

    A path is `training_config.learning_rate`, `data_sources[1]`, or `target_class_config["car"]`; that of `message`
    itself is `path`. Fields named in `skip` are not entered.
    """
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is None or field.name in skip:
            continue
        for suffix, child in elements(value):
            if isinstance(child, Message):
                yield from walk(child, f"{joined(path, field.name)}{suffix}", skip)


def elements(value: Any) -> Iterator[tuple[str, Any]]:
    """The values of a field, each with its suffix: `["key"]` in a map, `[index]` in a list, otherwise none."""
    if isinstance(value, Message | str | bytes | int | float):
        yield "", value
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield f'["{key}"]', value[key]
    else:
        for index, item in enumerate(value):
            yield f"[{index}]", item


def joined(path: str, name: str) -> str:
    """The path of field `name` of the message at `path`."""
    return f"{path}.{name}" if path else name


def type_name(message: Message) -> str:
    """The name of the type of `message` without its package: `PostProcessingConfig.TargetClassConfig`."""
    return str(message.DESCRIPTOR.full_name.removeprefix("qatkit."))
