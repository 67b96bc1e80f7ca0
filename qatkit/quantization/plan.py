"""The quantization plan: which tensors and kernels of a network are INT8, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from qatkit.choices import Placement as Placement
from qatkit.errors import ModelError
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import CONVOLUTIONS


@dataclass(frozen=True)
class QuantizationPlan:
    """Which tensors carry quantize/dequantize, which kernels are INT8.

    placement: whose rule it follows; `tao` is also trained and evaluated with TAO's arithmetic (`tao_quant`).
    activations: nodes whose output is quantized, in graph order.
    weights: convolutions whose kernel is quantized. Deployed, it has one scale per output channel, as TensorRT
        takes it; TAO trains with one per kernel.
    shared: node -> the quantized node whose range its output has too: max-pool, padding and nearest-neighbour
        upsampling after that node, or what only a Concat reads before it. No quantization of their own.
    skip: the layer patterns that were taken out on request.
    """

    placement: Placement
    activations: tuple[str, ...]
    weights: tuple[str, ...]
    shared: Mapping[str, str]
    skip: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries, for a model file."""
        return {
            "placement": self.placement,
            "activations": list(self.activations),
            "weights": list(self.weights),
            "shared": dict(self.shared),
            "skip": list(self.skip),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> QuantizationPlan:
        """Inverse of `to_json`. Raises ModelError when `value` is not a plan."""
        try:
            placement, shared = value["placement"], value["shared"]
            lists = [_names(value[key]) for key in ("activations", "weights", "skip")]
            pairs = dict(zip(_names(list(shared)), _names(list(shared.values()))))
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"quantization plan: damaged: {error}") from error
        if placement not in get_args(Placement):
            raise ModelError(f"quantization plan: unknown placement {placement!r}")
        return cls(placement, lists[0], lists[1], pairs, lists[2])

    def check(self, graph: Graph) -> None:
        """Raise ModelError when the plan names a node that `graph` does not have, or a kernel of no convolution."""
        for name in (*self.activations, *self.weights, *self.shared, *self.shared.values()):
            if name not in graph:
                raise ModelError(f"quantization plan: the network has no layer {name}")
        for name in self.weights:
            if not isinstance(graph[name], CONVOLUTIONS):
                raise ModelError(f"quantization plan: layer {name} is no convolution")

    def range_source(self, name: str) -> str | None:
        """The node whose range the output of `name` has: itself, another one, or none."""
        return name if name in self.activations else self.shared.get(name)

    def summary(self) -> str:
        """The plan in one line."""
        kernels = f"{len(self.weights)} kernels (per channel)"
        return f"placement {self.placement}: {len(self.activations)} tensors, {kernels}"

    def describe(self) -> str:
        """The plan as text, a line per tensor and kernel."""
        lines = [self.summary()]
        lines += [f"  output of {name}" for name in self.activations]
        lines += [f"  kernel of {name}" for name in self.weights]
        lines += [f"  output of {name} has the range of {source}" for name, source in self.shared.items()]
        lines += [f"  skipped: {pattern}" for pattern in self.skip]
        return "\n".join(lines)


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        raise TypeError(f"expected a list of names, found {values!r}")
    return tuple(values)
