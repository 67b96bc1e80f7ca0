"""Which operations of a network may run as one kernel: the rules of fusion over a trained graph and an ONNX file.

Source: NVIDIA's rules for explicit quantization (TensorRT developer guide, Q/DQ layer placement).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from qatkit.graph.nodes import CONVOLUTIONS, Activation, Add, Node


@dataclass(frozen=True)
class Links:
    """What makes and what reads each tensor of a network.

    kinds: tensor -> the kind of operation that makes it, None for one that is not known here; in topological order,
    the image with them and constants not. inputs: tensor -> what its operation reads. outputs: of the network.
    """

    kinds: Mapping[str, type[Node] | None]
    inputs: Mapping[str, Sequence[str]]
    outputs: Collection[str]

    @cached_property
    def readers(self) -> Mapping[str, Sequence[str]]:
        """Tensor -> what is made of it; twice what reads it twice."""
        found: dict[str, list[str]] = {name: [] for name in self.kinds}
        for name in self.kinds:
            for source in self.inputs[name]:
                found.setdefault(source, []).append(name)
        return found

    def sole_reader(self, tensor: str) -> str | None:
        """What is made of `tensor`, when one operation reads it, once, and it is no output of the network."""
        readers = self.readers.get(tensor, ())
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def is_a(self, tensor: str | None, kinds: type[Node] | tuple[type[Node], ...]) -> bool:
        """Whether an operation of one of `kinds` makes `tensor`."""
        kind = None if tensor is None else self.kinds.get(tensor)
        return kind is not None and issubclass(kind, kinds)

    def activation_after(self, tensor: str) -> str | None:
        """What the activation that alone reads `tensor` makes of it."""
        reader = self.sole_reader(tensor)
        return reader if self.is_a(reader, Activation) else None

    def fused_addends(self, candidates: Collection[str]) -> dict[str, str]:
        """Sum -> the one of its inputs that TensorRT computes in the same kernel, among `candidates`.

        Nothing else reads such an input. Where several qualify (a projection shortcut) it is the one that lies
        deepest: the other branch is ready by then, so that the sum can ride on this one.
        """
        depth = self._conv_depth()
        fused = {}
        for name in self.kinds:
            sources = self.inputs[name]
            if not self.is_a(name, Add) or any(source not in self.kinds for source in sources):
                continue
            if free := [source for source in sources if source in candidates and self.sole_reader(source) == name]:
                fused[name] = max(free, key=lambda source: depth[source])
        return fused

    def _conv_depth(self) -> dict[str, int]:
        """Tensor -> number of convolutions on the longest way from the image to it, its own included."""
        depth: dict[str, int] = {}
        for name in self.kinds:
            before = max((depth.get(source, 0) for source in self.inputs[name]), default=0)
            depth[name] = before + self.is_a(name, CONVOLUTIONS)
        return depth
