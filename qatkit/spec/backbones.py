"""The backbones that a spec may ask for; `graph.backbones` builds them."""

from __future__ import annotations

from dataclasses import dataclass

STRIDE = 16  # pixels between the grid cells of most networks


@dataclass(frozen=True)
class Architecture:
    """A value of `model_config.arch`. stride: of its grid, in pixels.

    depths: the values of num_layers that there are; none where it has one size and ignores the field.
    """

    depths: tuple[int, ...] = ()
    stride: int = STRIDE


ARCHITECTURES = {
    "resnet": Architecture((10, 18, 34, 50, 101, 152, 200)),
    "vgg": Architecture((16, 19)),
    "darknet": Architecture((19, 53), stride=2 * STRIDE),
    "mobilenet_v1": Architecture(),
    "mobilenet_v2": Architecture(),
    "squeezenet": Architecture(),
    "googlenet": Architecture(),
    "efficientnet_b0": Architecture(stride=2 * STRIDE),
}
DEFAULT_ARCH, DEFAULT_DEPTH = "resnet", 18
