"""What a `Graph` computes, in plain NumPy: slow, short, and independent of TensorFlow and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qatkit.graph import nodes
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import Node, Padding

Array = NDArray[np.float32]


def forward(
    graph: Graph, images: Array, ranges: Mapping[str, float] | None = None, kernels: Sequence[str] = ()
) -> dict[str, Array]:
    """Every node's output, NHWC, for images [B, H, W, C].

    ranges: nodes whose outputs are fake-quantized to amax (int8, -128..127); kernels: convolutions whose kernel is
    fake-quantized per tensor. Both as TAO does it.
    """
    values: dict[str, Array] = {}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        value = images if isinstance(node, nodes.Input) else _compute(graph, node, inputs, node.name in kernels)
        amax = (ranges or {}).get(node.name)
        values[node.name] = value if amax is None else _fake_quantize(value, amax)
    return values


def _fake_quantize(value: Array, amax: float) -> Array:
    scale = np.float32(amax) / np.float32(127)
    return np.clip(np.round(value / scale), -128, 127).astype(np.float32) * scale


def _fake_quantize_kernel(kernel: Array) -> Array:
    """Per tensor; the grid -128..127 is fitted to whichever side needs it."""
    factors = [
        128 / -kernel.min() if kernel.min() < 0 else np.inf,
        127 / kernel.max() if kernel.max() > 0 else np.inf,
    ]
    factor = np.float32(min(factors))
    return np.clip(np.round(kernel * factor), -128, 127).astype(np.float32) / factor


def _compute(graph: Graph, node: Node, inputs: list[Array], quantized: bool) -> Array:
    x = inputs[0]
    if isinstance(node, nodes.Conv2D | nodes.DepthwiseConv2D):
        return _conv(graph, node, x, quantized)
    if isinstance(node, nodes.BatchNorm):
        gamma, beta, mean, variance = (graph.weight(node.name, part) for part in node.parts)
        return (x - mean) * (gamma / np.sqrt(variance + node.epsilon)) + beta
    if isinstance(node, nodes.MaxPool | nodes.AvgPool):
        windows = _windows(x, node.kernel_size, node.strides, node.padding)
        return windows.max((-2, -1)) if isinstance(node, nodes.MaxPool) else windows.mean((-2, -1))
    if isinstance(node, nodes.Concat):
        return np.concatenate(inputs, axis=-1)
    if isinstance(node, nodes.Pad):
        return _padded(x, node.padding)
    simple = {
        "Relu": lambda: np.maximum(x, 0),
        "Relu6": lambda: np.clip(x, 0, 6),
        "LeakyRelu": lambda: np.where(x > 0, x, x * np.float32(getattr(node, "alpha", 0))),
        "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "Swish": lambda: x / (1 + np.exp(-x)),
        "Add": lambda: sum(inputs),
        "Multiply": lambda: np.prod(np.broadcast_arrays(*inputs), axis=0),
        "GlobalAvgPool": lambda: x.mean((1, 2), keepdims=True),
    }
    return np.asarray(simple[node.op](), np.float32)


def _conv(graph: Graph, node: nodes.Conv2D | nodes.DepthwiseConv2D, x: Array, quantized: bool) -> Array:
    kernel = graph.weight(node.name, "kernel")
    kernel = _fake_quantize_kernel(kernel) if quantized else kernel
    windows = _windows(x, node.kernel_size, node.strides, node.padding)
    if isinstance(node, nodes.DepthwiseConv2D):
        y = np.einsum("bhwcij,ijc->bhwc", windows, kernel[..., 0])
    else:
        y = np.tensordot(windows, kernel, axes=([3, 4, 5], [2, 0, 1]))
    return y + graph.weight(node.name, "bias") if node.use_bias else y


def _windows(x: Array, size: tuple[int, int], strides: tuple[int, int], padding: Padding) -> Array:
    """[B, h, w, C, kh, kw]"""
    return sliding_window_view(_padded(x, padding), size, axis=(1, 2))[:, :: strides[0], :: strides[1]]


def _padded(x: Array, padding: Padding) -> Array:
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
