"""SqueezeNet at stride 16, as TAO's template builds it: never with batch norm."""

from __future__ import annotations

import re

from qatkit.graph.backbones.base import Backbone, BackboneOptions
from qatkit.graph.builder import Builder

# Fire module -> filters of its squeeze convolution, and of each of its two expand convolutions.
_FIRES = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
_POOL_AFTER = (4, 8)


def _squeezenet(net: Builder, options: BackboneOptions) -> str:
    x = net.relu(net.conv(net.input, 96, 7, stride=2, name="conv1"), name="conv1_relu")
    x = net.max_pool(x, 3, 2, name="pool1")
    for number, (squeeze, expand) in _FIRES.items():
        x = _fire(net, x, f"fire{number}", squeeze, expand)
        if number in _POOL_AFTER:
            x = net.max_pool(x, 3, 2, name=f"pool{number}")
    return x


def _fire(net: Builder, x: str, prefix: str, squeeze: int, expand: int) -> str:
    x = net.relu(net.conv(x, squeeze, name=f"{prefix}_squeeze_conv"), name=f"{prefix}_squeeze")
    branches = [
        net.relu(
            net.conv(x, expand, kernel, name=f"{prefix}_expand_conv{kernel}x{kernel}"),
            name=f"{prefix}_expand_{kernel}x{kernel}",
        )
        for kernel in (1, 3)
    ]
    return net.concat(*branches, name=prefix)


def _block_of(layer: str) -> int | None:
    """0 for conv1, 1 to 8 for fire2 to fire9."""
    if layer == "conv1":
        return 0
    match = re.match(r"fire([2-9])_", layer)
    return int(match[1]) - 1 if match else None


# Keras named TAO's model by itself.
SQUEEZENET = Backbone(add=_squeezenet, name=lambda options: "model_1", block_of=_block_of)
