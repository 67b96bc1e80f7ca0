"""Batch norm folded into convolutions, and INT8 codes of kernels that folding does not change.

With one symmetric scale per output channel, folding multiplies a channel's scale by gamma / sqrt(variance + epsilon)
and may flip its sign; the codes, round(w / scale), stay. So the codes learned in training are those of the folded
network, of the Q/DQ ONNX, and those that TensorRT finds in the folded float kernel (max|w| / 127).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qatkit.errors import ModelError
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import CONVOLUTIONS, BatchNorm, Conv2D, DepthwiseConv2D, Node
from qatkit.quantization.blocks import fused_blocks
from qatkit.quantization.plan import QuantizationPlan

# Symmetric and narrow: -128 is never used, so that a sign flips without overflow.
CODE_MAX = 127

Floats = NDArray[np.float32]


def weight_codes(kernel: Floats, channel_axis: int = -1) -> tuple[NDArray[np.int8], Floats]:
    """INT8 codes -127..127 of a kernel, rounded half to even, and the scale of each channel along `channel_axis`.

    kernel: HWIO (channel axis -1) or, of a depthwise convolution, HWC1 (channel axis 2).
    scale = max|w| / 127 per channel, as TensorRT takes it. A channel of zeros (or of numbers too small for a normal
    float32 scale) gets codes 0 and scale 1: TensorRT refuses a scale of 0.
    """
    moved = np.moveaxis(kernel.astype(np.float64), channel_axis, -1)
    scale = np.abs(moved).max(axis=tuple(range(moved.ndim - 1)), initial=0) / CODE_MAX
    dead = scale < np.finfo(np.float32).tiny
    codes = np.rint(np.where(dead, 0, moved) / np.where(dead, 1, scale)).astype(np.int8)
    return np.moveaxis(codes, -1, channel_axis), np.where(dead, 1, scale).astype(np.float32)


def channel_axis(node: Node) -> int:
    """The axis of the output channels in the kernel of convolution `node`."""
    return 2 if isinstance(node, DepthwiseConv2D) else 3


def snap_to_grid(graph: Graph, kernels: Collection[str]) -> Graph:
    """`graph` with the kernels of the convolutions `kernels` moved to the nearest INT8 code times its scale.

    After that no rounding error along the way, of folding or of another program's arithmetic, can change a code: the
    kernel is at the centre of its rounding intervals.
    """
    weights = dict(graph.weights)
    for name in kernels:
        kernel = graph.weight(name, "kernel")
        axis = channel_axis(graph[name])
        codes, scale = weight_codes(kernel, axis)
        weights[f"{name}/kernel"] = codes * _along(scale, axis, kernel.ndim)
    return graph.with_weights(weights)


def snap_biases_to_grid(
    graph: Graph, plan: QuantizationPlan, ranges: Mapping[str, float], frozen: Collection[str] = ()
) -> Graph:
    """`graph` with the biases of INT8 convolutions moved to whole units of their integer sums.

    A unit is input scale * kernel scale, at most half of one is moved. Integer kernels hold the bias as a whole
    number of units; with such biases they compute what float arithmetic on the same codes does. The shift goes into
    beta where a batch norm is folded into the convolution. ranges: node -> amax, for all of `plan.activations`.
    frozen: convolutions whose own biases stay as they are.
    """
    folded, deployed, weights = foldable(graph), fold(graph), dict(graph.weights)
    for name in plan.weights:
        source = plan.range_source(graph[name].inputs[0])
        owner = f"{folded[name]}/beta" if name in folded else f"{name}/bias"
        if source is None or owner not in weights or owner.rpartition("/")[0] in frozen:
            continue
        kernel = deployed.weight(name, "kernel")
        axis = channel_axis(graph[name])
        unit = weight_codes(kernel, axis)[1].astype(np.float64) * ranges[source] / CODE_MAX
        bias = deployed.weight(name, "bias").astype(np.float64)
        # A channel of zeros has no sum, and no unit: its bias stays.
        alive = np.moveaxis(kernel, axis, 0).reshape(len(unit), -1).any(axis=1)
        shift = np.where(alive, np.rint(bias / unit) * unit - bias, 0.0)
        weights[owner] = (weights[owner] + shift).astype(np.float32)
    return graph.with_weights(weights)


def _along(values: NDArray[np.floating], axis: int, ndim: int) -> NDArray[np.floating]:
    """A vector shaped to multiply an array of `ndim` dimensions along `axis`."""
    return values.reshape([-1 if position == axis else 1 for position in range(ndim)])


def foldable(graph: Graph) -> dict[str, str]:
    """Convolution -> the batch norm that reads it and that nothing else reads before."""
    return {
        block.first.name: block.nodes[1].name
        for block in fused_blocks(graph)
        if block.is_conv and len(block.nodes) > 1 and isinstance(block.nodes[1], BatchNorm)
    }


def fold(graph: Graph) -> Graph:
    """The same network with every batch norm that follows a convolution folded into it.

    The convolution keeps its name, has a bias, and is read by what read the batch norm. Computed in float64, rounded
    once. A batch norm without a convolution before it stays. Raises ModelError when the result is not finite.
    """
    folded = foldable(graph)
    renamed = {norm: conv for conv, norm in folded.items()}
    weights = {name: array for name, array in graph.weights.items() if name.rpartition("/")[0] not in renamed}
    nodes = []
    for node in graph.nodes:
        if node.name in renamed:
            continue
        node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        if isinstance(node, CONVOLUTIONS) and node.name in folded:
            weights |= _folded_weights(graph, node, folded[node.name])
            node = replace(node, use_bias=True)
        nodes.append(node)
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return Graph(graph.name, tuple(nodes), weights, outputs)


def _folded_weights(graph: Graph, conv: Conv2D | DepthwiseConv2D, norm: str) -> dict[str, Floats]:
    gamma, beta, mean, variance = (graph.weight(norm, part).astype(np.float64) for part in BatchNorm.parts)
    batch_norm = graph[norm]
    assert isinstance(batch_norm, BatchNorm)
    factor = gamma / np.sqrt(variance + batch_norm.epsilon)
    bias = graph.weight(conv.name, "bias").astype(np.float64) if conv.use_bias else np.zeros_like(mean)
    kernel = graph.weight(conv.name, "kernel").astype(np.float64)
    arrays = {
        f"{conv.name}/kernel": (kernel * _along(factor, channel_axis(conv), kernel.ndim)).astype(np.float32),
        f"{conv.name}/bias": ((bias - mean) * factor + beta).astype(np.float32),
    }
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ModelError(f"layer {norm}: its statistics give no finite weights", hint="did training diverge?")
    return arrays
