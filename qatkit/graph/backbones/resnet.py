"""ResNet with post-activation blocks, as TAO's template builds it."""

from __future__ import annotations

import re

from qatkit.graph.backbones.base import Backbone, BackboneOptions, bn_suffix
from qatkit.graph.builder import Builder

# Sub-blocks per stage.
_REPEATS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
# (kernel, filters) of a sub-block's convolutions in stage 1; every further stage doubles the filters.
_BASIC = ((3, 64), (3, 64))
_BOTTLENECK = ((1, 64), (3, 64), (1, 256))
_SMALLEST_BOTTLENECK = 50


def _resnet(net: Builder, options: BackboneOptions) -> str:
    """Stride 16; with `use_pooling` 32, and a 7x7 average pool behind it that makes it 224."""
    x = net.conv(net.input, 64, 7, stride=2, name="conv1")
    x = net.relu(net.batch_norm(x, name="bn_conv1"))
    if options.use_pooling:
        x = net.max_pool(x, 3, 2)
    strides = (1, 2, 2, 2) if options.use_pooling else (2, 2, 2, 1)
    for stage, (repeats, stride) in enumerate(zip(_REPEATS[options.num_layers], strides), start=1):
        for number in range(repeats):
            prefix = f"block_{stage}{chr(ord('a') + number)}_"
            x = _sub_block(net, x, prefix, stage, options, stride=stride if number == 0 else 1, first=number == 0)
    return net.avg_pool(x, 7, 7) if options.use_pooling else x


def _sub_block(
    net: Builder, x: str, prefix: str, stage: int, options: BackboneOptions, *, stride: int, first: bool
) -> str:
    """Two or three convolutions beside a shortcut; the stride sits on the first of them and on the shortcut."""
    convs = _BOTTLENECK if options.num_layers >= _SMALLEST_BOTTLENECK else _BASIC
    scale = 2 ** (stage - 1)
    y = x
    for number, (kernel, filters) in enumerate(convs, start=1):
        if number > 1:
            y = net.relu(y, name=f"{prefix}relu_{number - 1}")
        conv_stride = stride if number == 1 else 1
        y = net.conv(y, filters * scale, kernel, stride=conv_stride, name=f"{prefix}conv_{number}")
        y = net.batch_norm(y, name=f"{prefix}bn_{number}")
    shortcut = x
    if first or options.all_projections:
        filters = convs[-1][1] * scale
        shortcut = net.conv(x, filters, stride=stride, same=False, name=f"{prefix}conv_shortcut")
        shortcut = net.batch_norm(shortcut, name=f"{prefix}bn_shortcut")
    return net.relu(net.add(y, shortcut), name=f"{prefix}relu")


def _name(options: BackboneOptions) -> str:
    pooling = "" if options.use_pooling else "_nopool"
    return f"resnet{options.num_layers}{pooling}{bn_suffix(options)}"


def _block_of(layer: str) -> int | None:
    """0 for conv1, 1 to 4 for the stages."""
    if layer in ("conv1", "bn_conv1"):
        return 0
    match = re.match(r"block_([1-4])[a-z]", layer)
    return int(match[1]) if match else None


RESNET = Backbone(add=_resnet, name=_name, block_of=_block_of)
