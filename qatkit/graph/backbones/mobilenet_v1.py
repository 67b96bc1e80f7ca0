"""MobileNet v1 at stride 16, as TAO's template builds it: explicit padding layers, no biases, plain ReLU."""

from __future__ import annotations

import re

from qatkit.graph.backbones.base import Backbone, BackboneOptions, bn_suffix
from qatkit.graph.builder import Builder

_FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512)
# The blocks, counted from 1, that halve the image.
_STRIDED = (2, 4, 6)
_ONE_ROUND = (1, 1, 1, 1)


def _mobilenet(net: Builder, options: BackboneOptions) -> str:
    x = net.pad(net.input, _ONE_ROUND, name="conv1_pad")
    x = net.conv(x, 32, 3, stride=2, bias=False, same=False, name="conv1")
    x = net.relu(net.batch_norm(x, name="conv1_bn"), name="conv_block_relu")
    for block, filters in enumerate(_FILTERS, start=1):
        x = _depthwise_block(net, x, block, filters)
    return x


def _depthwise_block(net: Builder, x: str, block: int, filters: int) -> str:
    x = net.pad(x, _ONE_ROUND, name=f"conv_pad_{block}")
    x = net.depthwise(x, 3, stride=2 if block in _STRIDED else 1, same=False, name=f"conv_dw_{block}")
    x = net.relu(net.batch_norm(x, name=f"conv_dw_{block}_bn"), name=f"conv_dw_{block}_relu")
    x = net.conv(x, filters, bias=False, name=f"conv_pw_{block}")
    return net.relu(net.batch_norm(x, name=f"conv_pw_{block}_bn"), name=f"conv_pw_relu_{block}")


def _block_of(layer: str) -> int | None:
    """0 for conv1, 1 to 11 for the depthwise blocks."""
    if layer in ("conv1", "conv1_bn"):
        return 0
    match = re.match(r"conv_[dp]w_(\d+)(_|$)", layer)
    return int(match[1]) if match else None


MOBILENET_V1 = Backbone(
    add=_mobilenet,
    name=lambda options: f"mobilenet{bn_suffix(options)}",
    block_of=_block_of,
)
