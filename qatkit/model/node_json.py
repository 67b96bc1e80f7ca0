"""`Node` <-> JSON. What comes from a file is checked: known operation, known fields, values within bounds."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from qatkit.errors import ModelError
from qatkit.graph.nodes import NODE_TYPES, Node, node_attributes

_MAX_NAME = 200
# Smallest and largest value of a node's numeric fields; generous for any network, and small enough that no shape
# computed from them can run away.
_BOUNDS: dict[str, tuple[float, float]] = {
    "shape": (1, 16384),
    "kernel_size": (1, 1024),
    "strides": (1, 1024),
    "padding": (0, 1024),
    "dilation": (1, 1024),
    "filters": (1, 65536),
    "factors": (1, 64),
    "epsilon": (0.0, 1.0),
    "momentum": (0.0, 1.0),
    "alpha": (-1.0, 1.0),
}


def node_to_json(node: Node) -> dict[str, Any]:
    """`node` as a JSON object."""
    attributes = {
        key: list(value) if isinstance(value, tuple) else value for key, value in node_attributes(node).items()
    }
    return {"op": node.op, "name": node.name, "inputs": list(node.inputs), **attributes}


def node_from_json(entry: dict[str, Any]) -> Node:
    """The node that `entry` describes. Raises ModelError for anything that is not a sensible node."""
    entry = dict(entry)
    kind = NODE_TYPES.get(str(entry.pop("op", None)))
    name = checked_name(entry.pop("name", None))
    inputs = entry.pop("inputs", None)
    if kind is None:
        raise ModelError(f"layer {name}: its operation is not known")
    if not isinstance(inputs, list) or any(not isinstance(source, str) for source in inputs):
        raise ModelError(f"layer {name}: inputs should be a list of names")
    defaults = {item.name: item.default for item in fields(kind) if item.default is not MISSING}
    if set(entry) != set(defaults):
        strange = ", ".join(sorted(set(entry) ^ set(defaults)))
        raise ModelError(f"layer {name}: a {kind.__name__} with unknown or missing fields: {strange}")
    values = {key: _checked(name, key, value, defaults[key]) for key, value in entry.items()}
    return kind(name, tuple(inputs), **values)


def checked_name(name: Any) -> str:
    """`name`, if it can be one: text without control characters, of sensible length."""
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise ModelError(f"{str(name)[:40]!r} cannot be a name")
    return name


def _checked(node: str, key: str, value: Any, default: Any) -> Any:
    """`value` in the type of the field's default, within the field's bounds."""
    where = f"layer {node}: {key}"
    if isinstance(default, tuple):
        if not isinstance(value, list) or len(value) != len(default):
            raise ModelError(f"{where} should be {len(default)} numbers")
        return tuple(_checked(node, key, item, like) for item, like in zip(value, default))
    if type(value) is not type(default) and not (type(value) is int and isinstance(default, float)):
        raise ModelError(f"{where} should be {type(default).__name__}, found {str(value)[:40]}")
    if isinstance(default, bool):
        return value
    low, high = _BOUNDS[key]
    if not low <= value <= high:
        raise ModelError(f"{where} should lie within {low} and {high}, found {value}")
    return type(default)(value)
