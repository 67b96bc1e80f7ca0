"""What every backbone module offers: how to add its layers, what it is called, and its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qatkit.graph.builder import Builder


@dataclass(frozen=True)
class BackboneOptions:
    """The fields of the spec's model_config that shape a backbone; see there."""

    num_layers: int
    use_batch_norm: bool
    use_pooling: bool
    all_projections: bool


def bn_suffix(options: BackboneOptions) -> str:
    """What TAO appends to the name of a backbone with batch norm."""
    return "_bn" if options.use_batch_norm else ""


@dataclass(frozen=True)
class Backbone:
    """One value of `arch`.

    `add` adds the layers behind `net.input` and returns the name of the last one. `block_of` tells the id of the
    block (the spec's freeze_blocks) that a layer belongs to, None for a layer of none. What a spec must know of it is
    in `spec.backbones`.
    """

    add: Callable[[Builder, BackboneOptions], str]
    name: Callable[[BackboneOptions], str]
    block_of: Callable[[str], int | None]
