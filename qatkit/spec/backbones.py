"""The backbones that a spec may ask for; `graph.backbones` builds them."""

from __future__ import annotations

from dataclasses import dataclass

STRIDE = 16  # pixels between the grid cells of most networks


@dataclass(frozen=True)
class Architecture:
    """A value of `model_config.arch`.

    blocks: the numbers of its blocks, as freeze_blocks counts them. depths: the values of num_layers that there are;
    none where it has one size and ignores the field. stride: of its grid, in pixels. batch_norm: overrides
    use_batch_norm where a backbone always or never has it. options: the fields of model_config that it has, too.
    """

    blocks: range
    depths: tuple[int, ...] = ()
    stride: int = STRIDE
    batch_norm: bool | None = None
    options: frozenset[str] = frozenset()


ARCHITECTURES = {
    "resnet": Architecture(
        range(5), (10, 18, 34, 50, 101, 152, 200), options=frozenset({"use_pooling", "all_projections"})
    ),
    "vgg": Architecture(range(1, 6), (16, 19), options=frozenset({"use_pooling"})),
    "darknet": Architecture(range(6), (19, 53), stride=2 * STRIDE),
    "mobilenet_v1": Architecture(range(12)),
    "mobilenet_v2": Architecture(range(14)),
    "squeezenet": Architecture(range(9), batch_norm=False),
    "googlenet": Architecture(range(10)),
    "efficientnet_b0": Architecture(range(9), stride=2 * STRIDE, batch_norm=True),
}
DEFAULT_ARCH, DEFAULT_DEPTH = "resnet", 18
