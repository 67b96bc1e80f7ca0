"""`.tlt`: one file with the network, its weights, and all that is needed to use it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

import qatkit
from qatkit.detectnet.labels import Labels
from qatkit.errors import ModelError
from qatkit.graph.graph import Graph, select_weights
from qatkit.model import container
from qatkit.model.node_json import checked_name, node_from_json, node_to_json
from qatkit.quantization.plan import QuantizationPlan

_MAX_NODES = 10_000
_MAX_LIST = 1_000
_MAX_NUMBER = 1e30


@dataclass(frozen=True)
class Model:
    """A network with what its outputs mean.

    ranges: node name -> the magnitude (amax) that its output is quantized with, scale = amax / 127. plan: what of it
    is quantized. Without ranges and plan when the model was not trained for quantization. spec_text: the training
    spec it came from, "" when not known.

    Raises ModelError for labels that make no sense, and for ranges and a plan of another network.
    """

    graph: Graph
    labels: Labels
    ranges: Mapping[str, float] = field(default_factory=dict)
    plan: QuantizationPlan | None = None
    pruned: bool = False
    spec_text: str = ""
    tool_version: str = qatkit.__version__

    def __post_init__(self) -> None:
        _check_labels(self.labels)
        for name, amax in self.ranges.items():
            if name not in self.graph:
                raise ModelError(f"range of {name}: there is no such layer")
            if not 0 <= amax < math.inf:
                raise ModelError(f"range of {name}: should be finite and not negative, found {amax}")
        if self.plan is not None:
            self.plan.check(self.graph)

    @property
    def is_qat(self) -> bool:
        """Whether the model was trained with fake quantization."""
        return self.plan is not None


def _check_labels(labels: Labels) -> None:
    if not labels.classes:
        raise ModelError("a model needs at least one class")
    for name in labels.classes:
        checked_name(name)
    if len(set(labels.classes)) != len(labels.classes):
        raise ModelError(f"a class is listed twice: {', '.join(labels.classes)}")
    if not (0 < labels.box_scale < math.inf and 0 <= labels.box_offset < math.inf):
        raise ModelError(f"box scale {labels.box_scale} and offset {labels.box_offset} make no sense")


def save_model(path: Path, model: Model, key: str | None = None) -> None:
    """Write `model` to `path` in one step, encrypted when there is a key.

    Raises ModelError for a model that could not be read back, EnvironmentProblem where the disk refuses.
    """
    graph = model.graph
    nodes = [node_to_json(node) for node in graph.nodes]
    for node in nodes:
        node_from_json(node)
    header = {
        "tool_version": model.tool_version,
        "name": graph.name,
        "nodes": nodes,
        "outputs": list(graph.outputs),
        "classes": list(model.labels.classes),
        "box_scale": float(model.labels.box_scale),
        "box_offset": float(model.labels.box_offset),
        "ranges": {name: float(amax) for name, amax in model.ranges.items()},
        "plan": None if model.plan is None else model.plan.to_json(),
        "pruned": model.pruned,
        "spec_text": model.spec_text,
    }
    # Contiguous: safetensors writes an array's memory as it lies, whatever its strides say.
    weights = {
        name: np.ascontiguousarray(array, np.float32).reshape(array.shape)
        for name, array in select_weights(graph.weights, graph.nodes).items()
    }
    container.write(path, header, safetensors.numpy.save(weights), key)


def read_tlt(path: Path, key: str | None = None) -> Model:
    """The model in the file at `path`; a plain file opens with any key.

    Everything is checked before anything is built, and nothing in the file can run. Raises ModelError for a file
    that is missing, damaged, of another kind, encrypted with another key, or whose content makes no sense.
    """
    header, payload = container.read(path, key)
    try:
        return _model(header, _tensors(payload))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _model(header: dict[str, Any], weights: dict[str, NDArray[np.float32]]) -> Model:
    nodes = tuple(node_from_json(entry) for entry in _list(header, "nodes", dict, _MAX_NODES))
    outputs = tuple(_list(header, "outputs", str, _MAX_LIST))
    if not outputs or not nodes or nodes[0].op != "Input" or sum(node.op == "Input" for node in nodes) != 1:
        raise ModelError("a network needs one Input, in the first place, and at least one output")
    graph = Graph(checked_name(header.get("name")), nodes, weights, outputs)
    _check_owners(graph)
    plan = _value(header, "plan", dict, type(None))
    return Model(
        graph=graph,
        labels=Labels(
            tuple(_list(header, "classes", str, _MAX_LIST)),
            _number(header, "box_scale"),
            _number(header, "box_offset"),
        ),
        ranges={name: _number(header["ranges"], name) for name in _value(header, "ranges", dict)},
        plan=None if plan is None else QuantizationPlan.from_json(plan),
        pruned=_value(header, "pruned", bool),
        spec_text=_value(header, "spec_text", str),
        tool_version=_value(header, "tool_version", str),
    )


def _tensors(payload: bytes) -> dict[str, NDArray[np.float32]]:
    """The arrays in a safetensors buffer: all float32 and finite."""
    try:
        weights: dict[str, NDArray[np.float32]] = safetensors.numpy.load(payload)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"the weights cannot be read: {error}") from error
    for name, array in weights.items():
        if array.dtype != np.float32:
            raise ModelError(f"weight {name}: should be float32, found {array.dtype}")
        if not np.isfinite(array).all():
            raise ModelError(f"weight {name}: not all of its values are numbers")
    return weights


def _check_owners(graph: Graph) -> None:
    owned = {name for node in graph.nodes for name in node.weight_names()}
    if strangers := sorted(set(graph.weights) - owned):
        raise ModelError(f"weight {strangers[0]}: no layer owns it")


def _value(header: dict[str, Any], name: str, *kinds: type) -> Any:
    value = header.get(name)
    # bool is an int to Python; a type is meant exactly here.
    if type(value) not in kinds:
        raise ModelError(f"{name}: should be {kinds[0].__name__}, found {json.dumps(value)[:80]}")
    return value


def _list(header: dict[str, Any], name: str, kind: type, limit: int) -> list[Any]:
    values: list[Any] = _value(header, name, list)
    if len(values) > limit or any(type(value) is not kind for value in values):
        raise ModelError(f"{name}: should be a list of at most {limit} {kind.__name__}")
    return values


def _number(values: dict[str, Any], name: str) -> float:
    value = _value(values, name, float, int)
    # Compared before it is converted: JSON allows integers that no float can hold.
    if not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        raise ModelError(f"{name}: should be a finite number, found {value}")
    return float(value)
