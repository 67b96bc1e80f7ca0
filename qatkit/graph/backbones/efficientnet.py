"""EfficientNet-B0, as TAO's template builds it: squeeze and excite, swish, always batch norm, stride 32.

TAO drops residual branches at random in training (drop connect); this network does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qatkit.graph.backbones.base import Backbone, BackboneOptions
from qatkit.graph.builder import Builder, fan_out_normal
from qatkit.graph.nodes import Padding


@dataclass(frozen=True)
class _Stage:
    """Blocks of one shape; the first one has the stride and changes the number of channels."""

    kernel: int
    repeats: int
    filters: int
    expansion: int
    stride: int


_STAGES = (
    _Stage(kernel=3, repeats=1, filters=16, expansion=1, stride=1),
    _Stage(kernel=3, repeats=2, filters=24, expansion=6, stride=2),
    _Stage(kernel=5, repeats=2, filters=40, expansion=6, stride=2),
    _Stage(kernel=3, repeats=3, filters=80, expansion=6, stride=2),
    _Stage(kernel=5, repeats=3, filters=112, expansion=6, stride=1),
    _Stage(kernel=5, repeats=4, filters=192, expansion=6, stride=2),
    _Stage(kernel=3, repeats=1, filters=320, expansion=6, stride=1),
)
# The squeezed channels are this part of a block's input channels.
_SQUEEZE = 4


def _efficientnet(net: Builder, options: BackboneOptions) -> str:
    x = net.pad(net.input, _tf_padding(net, net.input, 3), name="stem_conv_pad")
    x = net.conv(x, 32, 3, stride=2, bias=False, same=False, name="stem_conv", initializer=fan_out_normal)
    x = net.swish(net.batch_norm(x, name="stem_bn"), name="stem_activation")
    for number, stage in enumerate(_STAGES, start=1):
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            x = _block(net, x, f"block{number}{chr(ord('a') + repeat)}_", stage, stride)
    x = net.conv(x, 1280, bias=False, name="top_conv", initializer=fan_out_normal)
    return net.swish(net.batch_norm(x, name="top_bn"), name="top_activation")


def _block(net: Builder, x: str, prefix: str, stage: _Stage, stride: int) -> str:
    """Expand, depthwise, squeeze and excite, project; added to the input where the shape stays."""
    channels = net.shape(x)[2]
    y = x
    if stage.expansion > 1:
        y = net.conv(
            y, channels * stage.expansion, bias=False, name=f"{prefix}expand_conv", initializer=fan_out_normal
        )
        y = net.swish(net.batch_norm(y, name=f"{prefix}expand_bn"), name=f"{prefix}expand_activation")
    if stride == 2:
        y = net.pad(y, _tf_padding(net, y, stage.kernel), name=f"{prefix}dwconv_pad")
    y = net.depthwise(
        y, stage.kernel, stride=stride, same=stride == 1, name=f"{prefix}dwconv", initializer=fan_out_normal
    )
    y = net.swish(net.batch_norm(y, name=f"{prefix}bn"), name=f"{prefix}activation")
    y = _squeeze_and_excite(net, y, prefix, channels // _SQUEEZE)
    y = net.conv(y, stage.filters, bias=False, name=f"{prefix}project_conv", initializer=fan_out_normal)
    y = net.batch_norm(y, name=f"{prefix}project_bn")
    return net.add(y, x, name=f"{prefix}add") if stride == 1 and stage.filters == channels else y


def _squeeze_and_excite(net: Builder, x: str, prefix: str, squeezed: int) -> str:
    """Scale every channel by a factor in 0..1 made from the channels' means."""
    y = net.global_avg_pool(x, name=f"{prefix}se_squeeze")
    y = net.conv(y, squeezed, name=f"{prefix}se_reduce", initializer=fan_out_normal)
    y = net.swish(y, name=f"{prefix}se_reduce/Swish")
    y = net.conv(y, net.shape(x)[2], name=f"{prefix}se_expand", initializer=fan_out_normal)
    y = net.sigmoid(y, name=f"{prefix}se_expand/Sigmoid")
    return net.multiply(x, y, name=f"{prefix}se_excite")


def _tf_padding(net: Builder, x: str, kernel: int) -> Padding:
    """TensorFlow's SAME for stride 2: one row and column less at the top and left of an image of even size."""
    height, width, _ = net.shape(x)
    half = kernel // 2
    return half - 1 + height % 2, half - 1 + width % 2, half, half


def _block_of(layer: str) -> int | None:
    """0 for the stem, 1 to 7 for the stages, 8 for top_conv."""
    if layer.startswith("stem_"):
        return 0
    if layer.startswith("top_"):
        return len(_STAGES) + 1
    match = re.match(r"block([1-7])[a-z]_", layer)
    return int(match[1]) if match else None


EFFICIENTNET_B0 = Backbone(
    add=_efficientnet,
    name=lambda options: "efficientnet-b0",
    block_of=_block_of,
)
