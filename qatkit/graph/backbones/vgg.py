"""VGG-16 and VGG-19 without their classifiers, as TAO's template builds them."""

from __future__ import annotations

import re

from qatkit.graph.backbones.base import Backbone, BackboneOptions, bn_suffix
from qatkit.graph.builder import Builder

_REPEATS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FILTERS = (64, 128, 256, 512, 512)


def _vgg(net: Builder, options: BackboneOptions) -> str:
    """Stride 16: stages 2 to 5 begin with stride 2, or with `use_pooling` come after a 2x2 max-pool."""
    x = net.input
    for stage, (repeats, filters) in enumerate(zip(_REPEATS[options.num_layers], _FILTERS), start=1):
        if options.use_pooling and stage > 1:
            x = net.max_pool(x, 2, 2, name=f"block{stage - 1}_pool")
        for number in range(repeats):
            strided = number == 0 and stage > 1 and not options.use_pooling
            prefix = f"block_{stage}{chr(ord('a') + number)}"
            x = net.conv(x, filters, 3, stride=2 if strided else 1, name=f"{prefix}_conv_1")
            x = net.relu(net.batch_norm(x, name=f"{prefix}_bn_1"), name=f"{prefix}_relu")
    return x


def _name(options: BackboneOptions) -> str:
    return f"vgg{options.num_layers}{'' if options.use_pooling else '_nopool'}{bn_suffix(options)}"


def _block_of(layer: str) -> int | None:
    """1 to 5: the stages."""
    match = re.match(r"block_([1-5])[a-z]", layer)
    return int(match[1]) if match else None


VGG = Backbone(add=_vgg, name=_name, block_of=_block_of)
