"""A `Graph`: an ordered tuple of typed nodes plus NumPy weights by name, checked as it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qatkit.errors import ModelError
from qatkit.graph.links import Links
from qatkit.graph.nodes import Activation, Add, Concat, Input, Join, Node, Shape

Weights = Mapping[str, NDArray[np.float32]]
# Larger images or more channels than this exist only in damaged files.
_MAX_EXTENT = 1 << 20


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, weights by `<node>/<part>`, and the names of the output nodes.

    Construction checks names, order, shapes and completeness of the weights and raises ModelError.
    """

    name: str
    nodes: tuple[Node, ...]
    weights: Weights
    outputs: tuple[str, ...]
    _shapes: dict[str, Shape] = field(init=False, repr=False, compare=False)
    _by_name: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            if node.name in shapes:
                raise ModelError(f"layer {node.name}: the name is used twice")
            missing = [name for name in node.inputs if name not in shapes]
            if missing:
                raise ModelError(f"layer {node.name}: its input {missing[0]} does not come before it")
            inputs = [shapes[name] for name in node.inputs]
            _check_arity(node)
            shapes[node.name] = _checked_shape(node, inputs)
            self._check_weights(node, inputs)
        for name in self.outputs:
            if name not in shapes:
                raise ModelError(f"output {name}: there is no such layer")
        object.__setattr__(self, "_shapes", shapes)
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})

    def _check_weights(self, node: Node, inputs: list[Shape]) -> None:
        for part, expected in node.weight_shapes(inputs).items():
            array = self.weights.get(f"{node.name}/{part}")
            found = "nothing" if array is None else f"{array.shape}"
            if array is None or array.shape != expected:
                raise ModelError(f"layer {node.name}: {part} should have the shape {expected}, found {found}")

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def shape(self, name: str) -> Shape:
        """(height, width, channels) of the output of node `name`."""
        return self._shapes[name]

    def input_shapes(self, node: Node) -> list[Shape]:
        """Shapes of what `node` reads."""
        return [self._shapes[name] for name in node.inputs]

    @property
    def input(self) -> Input:
        """The single input node."""
        return next(node for node in self.nodes if isinstance(node, Input))

    def consumers(self) -> dict[str, list[Node]]:
        """Node name -> the nodes that read its output, in graph order."""
        readers: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers

    @cached_property
    def links(self) -> Links:
        """What reads what, as fusion sees it."""
        inputs = {node.name: node.inputs for node in self.nodes}
        return Links({node.name: type(node) for node in self.nodes}, inputs, self.outputs)

    def non_negative(self, name: str) -> bool:
        """Whether no value of the output of node `name` can be below zero; the image is taken to be in 0..1."""
        return self[name].non_negative(self.non_negative(source) for source in self[name].inputs)

    def weight(self, node: str, part: str) -> NDArray[np.float32]:
        """The array `part` of node `node`."""
        return self.weights[f"{node}/{part}"]

    @property
    def params(self) -> int:
        """Number of weights, batch-norm statistics included (as Keras counts)."""
        return sum(int(array.size) for array in self.weights.values())

    @property
    def macs(self) -> int:
        """Multiply-adds of all convolutions for one image."""
        return sum(node.macs(self.input_shapes(node)) for node in self.nodes)

    @property
    def heads(self) -> frozenset[str]:
        """The output nodes and, where an output is an activation, the node that feeds it."""
        activations = [self[name] for name in self.outputs if isinstance(self[name], Activation)]
        return frozenset(self.outputs).union(name for node in activations for name in node.inputs)

    def with_weights(self, weights: Weights) -> Graph:
        """The same nodes with other weights."""
        return replace(self, weights=weights)


def _check_arity(node: Node) -> None:
    """An Input reads nothing, a joining node one tensor or more, every other node exactly one."""
    count = len(node.inputs)
    if isinstance(node, Join):
        if count < 1:
            raise ModelError(f"layer {node.name}: {node.op} has no input")
    elif count != (0 if isinstance(node, Input) else 1):
        raise ModelError(f"layer {node.name}: {node.op} cannot have {count} inputs")


def _checked_shape(node: Node, inputs: list[Shape]) -> Shape:
    if isinstance(node, Add) and len(set(inputs)) != 1:
        raise ModelError(f"layer {node.name}: its inputs differ in shape: {inputs}")
    if isinstance(node, Concat) and len({shape[:2] for shape in inputs}) != 1:
        raise ModelError(f"layer {node.name}: its inputs differ in size: {inputs}")
    shape = node.output_shape(inputs)
    if min(shape) < 1:
        raise ModelError(f"layer {node.name}: nothing is left of its input, {shape}", hint="the image is too small")
    if max(shape) > _MAX_EXTENT:
        raise ModelError(f"layer {node.name}: its output has more than {_MAX_EXTENT} rows, columns or channels")
    return shape


def select_weights(weights: Weights, nodes: Iterable[Node]) -> dict[str, NDArray[np.float32]]:
    """The arrays that `nodes` own."""
    return {name: weights[name] for node in nodes for name in node.weight_names()}
