"""What every engine offers: images in, the two outputs of the network out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qatkit.graph.nodes import Shape

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ModelInfo:
    """What is needed to use a network's outputs.

    input_shape: (height, width, channels). classes: in the order of the channels. box_scale, box_offset: pixels per
    unit of the bbox output, and the shift of the grid's points in pixels.
    """

    input_shape: Shape
    classes: tuple[str, ...]
    box_scale: float
    box_offset: float


class Engine(Protocol):
    """Runs a network. name: what runs it (keras, onnxruntime, tensorrt). precision: fp32, int8-ptq, int8-qat ..."""

    name: str
    precision: str
    info: ModelInfo

    def predict(self, images: Array) -> tuple[Array, Array]:
        """images: [B, H, W, C] in 0..1 -> cov [B, C, h, w] in 0..1, bbox [B, 4C, h, w] in units of box_scale."""
        ...
