"""Graph + plan + ranges -> ONNX with explicit QuantizeLinear/DequantizeLinear.

What TensorRT 11 needs and every TensorRT from 8 on reads: INT8 kernels with one scale per output channel, activations
per tensor, all zero points 0, batch norm folded, biases float, the heads float.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from qatkit.errors import ModelError
from qatkit.export.deployed import Deployed
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import OnnxWriter, build_model, kernel_to_onnx
from qatkit.graph.nodes import Node
from qatkit.quantization.folding import CODE_MAX, channel_axis, weight_codes
from qatkit.quantization.plan import QuantizationPlan


class _QdqWriter(OnnxWriter):
    def __init__(self, deployed: Deployed, ranges: Mapping[str, float], kernels: Collection[str]) -> None:
        super().__init__(deployed)
        self._ranges = ranges
        self._kernels = kernels
        self._dequantized: dict[str, str] = {}

    def source(self, name: str) -> str:
        return self._dequantized.get(name) or super().source(name)

    def finish(self, node: Node) -> None:
        """Every reader of a quantized tensor reads it quantized and dequantized."""
        if node.name not in self._ranges:
            return
        tensor = self.target(node)
        scale = self.constant(f"{tensor}_scale", np.float32(self._ranges[node.name] / CODE_MAX))
        zero = self.constant(f"{tensor}_zero_point", np.int8(0))
        codes = self.op("QuantizeLinear", [tensor, scale, zero], f"{tensor}_quantized", name=f"{tensor}_quantize")
        self._dequantized[node.name] = self.op(
            "DequantizeLinear", [codes, scale, zero], f"{tensor}_dequantized", name=f"{tensor}_dequantize"
        )

    def kernel(self, node: Node) -> str:
        if node.name not in self._kernels:
            return super().kernel(node)
        codes, scale = weight_codes(self.graph.weight(node.name, "kernel"), channel_axis(node))
        name = f"{node.name}/kernel:0"
        inputs = [
            self.constant(f"{name}_quantized", kernel_to_onnx(node, codes)),
            self.constant(f"{name}_scale", scale),
            self.constant(f"{name}_zero_point", np.zeros(len(scale), np.int8)),
        ]
        return self.op("DequantizeLinear", inputs, name, name=f"{name}_dequantize", axis=0)


def to_qdq_onnx(
    deployed: Deployed, plan: QuantizationPlan, ranges: Mapping[str, float], metadata: Metadata
) -> onnx.ModelProto:
    """The quantized network as ONNX.

    ranges: node of the trained network -> amax, at least for `plan.activations`; scale = amax / 127.
    Raises ModelError when a range is missing or no positive number.
    """
    scales = {}
    for name in plan.activations:
        node = deployed.origin.get(name)
        if node is None:  # merged into its reader
            continue
        amax = ranges.get(name)
        if amax is None or not 0 < amax < np.inf:
            raise ModelError(f"layer {name}: there is no quantization range for its output, found {amax}")
        scales[node] = amax
    return build_model(_QdqWriter(deployed, scales, plan.weights), metadata)
