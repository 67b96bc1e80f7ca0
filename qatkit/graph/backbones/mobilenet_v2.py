"""MobileNet v2 at stride 16, as TAO's template builds it: explicit padding layers, no biases, plain ReLU."""

from __future__ import annotations

import re

from qatkit.graph.backbones.base import Backbone, BackboneOptions, bn_suffix
from qatkit.graph.builder import Builder

_FILTERS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96)
# The blocks, counted from 0, that halve the image.
_STRIDED = (1, 3, 6)
_EXPANSION = 6
_MOMENTUM = 0.999
_ONE_ROUND = (1, 1, 1, 1)


def _mobilenet(net: Builder, options: BackboneOptions) -> str:
    x = net.pad(net.input, _ONE_ROUND, name="conv1_pad")
    x = net.conv(x, 32, 3, stride=2, bias=False, same=False, name="conv1")
    x = net.relu(net.batch_norm(x, name="bn_conv1", momentum=_MOMENTUM), name="re_lu_0")
    for block, filters in enumerate(_FILTERS):
        x = _inverted_residual(net, x, block, filters)
    return x


def _inverted_residual(net: Builder, x: str, block: int, filters: int) -> str:
    """Expand (but not in block 0), depthwise, project; added to the input where the shape stays."""
    prefix = f"block_{block}" if block else "expanded_conv"
    channels = net.shape(x)[2]
    stride = 2 if block in _STRIDED else 1
    y = x
    if block:
        y = net.conv(y, channels * _EXPANSION, bias=False, name=f"{prefix}_expand")
        y = net.batch_norm(y, name=f"{prefix}_expand_bn", momentum=_MOMENTUM)
        y = net.relu(y, name=f"re_lu_{block + 1}")
    y = net.pad(y, _ONE_ROUND, name=f"{prefix}_depthwise_pad")
    y = net.depthwise(y, 3, stride=stride, same=False, name=f"{prefix}_depthwise")
    y = net.relu(net.batch_norm(y, name=f"{prefix}_depthwise_bn", momentum=_MOMENTUM), name=f"{prefix}_relu")
    y = net.conv(y, filters, bias=False, name=f"{prefix}_project")
    y = net.batch_norm(y, name=f"{prefix}_project_bn", momentum=_MOMENTUM)
    return net.add(x, y, name=f"{prefix}_add") if stride == 1 and filters == channels else y


def _block_of(layer: str) -> int | None:
    """0 for conv1, n for the residual block n - 1."""
    if layer in ("conv1", "bn_conv1"):
        return 0
    if layer.startswith("expanded_conv_"):
        return 1
    match = re.match(r"block_(\d+)_", layer)
    return int(match[1]) + 1 if match else None


MOBILENET_V2 = Backbone(
    add=_mobilenet,
    name=lambda options: f"mobilenet_v2{bn_suffix(options)}",
    block_of=_block_of,
)
