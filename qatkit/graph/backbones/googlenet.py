"""GoogLeNet (Inception v1) at stride 16, as TAO's template builds it."""

from __future__ import annotations

import re

from qatkit.graph.backbones.base import Backbone, BackboneOptions, bn_suffix
from qatkit.graph.builder import Builder

# Filters of the convolutions 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def _googlenet(net: Builder, options: BackboneOptions) -> str:
    """Stride 16: there is no pooling between the blocks 4e and 5a."""
    x = _conv(net, net.input, 64, 7, "conv1", "bn_conv1", stride=2)
    x = net.max_pool(x, 2, 2, name="pool1")
    x = _conv(net, x, 64, 1, "conv2_reduce", "bn_conv2_reduce")
    x = _conv(net, x, 192, 3, "conv2", "bn_conv2")
    x = net.max_pool(x, 2, 2, name="pool2")
    for block, filters in _INCEPTIONS.items():
        if block == "4a":
            x = net.max_pool(x, 2, 2, name="pool3")
        x = _inception(net, x, f"inception_{block}", filters)
    return x


def _conv(net: Builder, x: str, filters: int, kernel: int, name: str, bn_name: str, stride: int = 1) -> str:
    x = net.conv(x, filters, kernel, stride=stride, name=name)
    return net.relu(net.batch_norm(x, name=bn_name))


def _inception(net: Builder, x: str, prefix: str, filters: tuple[int, ...]) -> str:
    """Four branches side by side, concatenated in this order."""

    def conv(source: str, count: int, kernel: int, part: str) -> str:
        return _conv(net, source, count, kernel, f"{prefix}_{part}", f"{prefix}_{part}_bn")

    one, reduce_3, three, reduce_5, five, projection = filters
    branches = [
        conv(x, one, 1, "1x1"),
        conv(conv(x, reduce_3, 1, "3x3_reduce"), three, 3, "3x3"),
        conv(conv(x, reduce_5, 1, "5x5_reduce"), five, 5, "5x5"),
        conv(net.max_pool(x, 3, 1, name=f"{prefix}_pool"), projection, 1, "pool_proj"),
    ]
    return net.concat(*branches, name=f"{prefix}_output")


def _block_of(layer: str) -> int | None:
    """0 for the layers before the inception blocks, then 1 to 9: 3a, 3b, 4a to 4e, 5a, 5b."""
    if re.fullmatch(r"(bn_)?conv(1|2|2_reduce)", layer):
        return 0
    match = re.match(r"inception_(\d[a-e])_", layer)
    return list(_INCEPTIONS).index(match[1]) + 1 if match and match[1] in _INCEPTIONS else None


GOOGLENET = Backbone(
    add=_googlenet,
    name=lambda options: f"Googlenet{bn_suffix(options)}",
    block_of=_block_of,
)
