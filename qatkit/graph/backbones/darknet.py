"""DarkNet-19 and DarkNet-53, as TAO's template builds them: leaky ReLU, no biases, stride 32."""

from __future__ import annotations

import re

from qatkit.graph.backbones.base import Backbone, BackboneOptions, bn_suffix
from qatkit.graph.builder import Builder

# Stages 1 to 5: DarkNet-19's convolutions alternate between 3x3 and 1x1 with half the filters; DarkNet-53's residual
# blocks are a 1x1 with half the filters and a 3x3.
_FILTERS = (64, 128, 256, 512, 1024)
_CONVS_19 = (1, 3, 3, 5, 5)
_BLOCKS_53 = (1, 2, 8, 8, 4)


def _darknet(net: Builder, options: BackboneOptions) -> str:
    x = _conv(net, net.input, 32, 3, "conv1")
    for stage, filters in enumerate(_FILTERS, start=1):
        x = _stage_19(net, x, stage, filters) if options.num_layers == 19 else _stage_53(net, x, stage, filters)
    return x


def _stage_19(net: Builder, x: str, stage: int, filters: int) -> str:
    x = net.max_pool(x, 2, 2, name=f"maxpool_{stage}")
    for number in range(1, _CONVS_19[stage - 1] + 1):
        kernel, count = (3, filters) if number % 2 else (1, filters // 2)
        x = _conv(net, x, count, kernel, f"b{stage}_conv{number}")
    return x


def _stage_53(net: Builder, x: str, stage: int, filters: int) -> str:
    x = _conv(net, x, filters, 3, f"conv{stage + 1}", stride=2)
    for number in range(1, _BLOCKS_53[stage - 1] + 1):
        y = _conv(net, x, filters // 2, 1, f"b{stage}_conv{number}_1")
        y = _conv(net, y, filters, 3, f"b{stage}_conv{number}_2")
        x = net.add(x, y, name=f"b{stage}_add{number}")
    return x


def _conv(net: Builder, x: str, filters: int, kernel: int, name: str, stride: int = 1) -> str:
    x = net.conv(x, filters, kernel, stride=stride, bias=False, name=name)
    return net.leaky_relu(net.batch_norm(x, name=f"{name}_bn"), name=f"{name}_lrelu")


def _block_of(layer: str) -> int | None:
    """0 for conv1, 1 to 5 for the stages; the strided convolution before a stage of DarkNet-53 belongs to it."""
    match = re.match(r"b([1-5])_conv|conv([1-6])(?:_|$)", layer)
    if not match:
        return None
    return int(match[1]) if match[1] else int(match[2]) - 1


DARKNET = Backbone(
    add=_darknet,
    name=lambda options: f"darknet{options.num_layers}{bn_suffix(options)}",
    block_of=_block_of,
)
