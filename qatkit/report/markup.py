"""HTML as a value: whatever is not markup already is escaped."""

from __future__ import annotations

import base64
from html import escape

_VOID = frozenset(("br", "img", "meta", "source"))


class Markup(str):
    """Text that is HTML. Everything else is text that an element escapes."""

    __slots__ = ()


Child = str | float | None


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """<name attributes>children</name>.

    children: text and numbers are escaped, markup is not, None is left out. attributes: `class_` is class,
    `aria_label` is aria-label, True has no value, None and False are left out.
    """
    head = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(children)}</{name}>")


def join(children: tuple[Child, ...] | list[Markup]) -> Markup:
    """One after the other."""
    given = [child for child in children if child is not None]
    return Markup("".join(child if isinstance(child, Markup) else escape(str(child)) for child in given))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def data_uri(content: bytes, kind: str) -> str:
    """`content` as an address that holds it. kind: its media type, such as image/jpeg."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
