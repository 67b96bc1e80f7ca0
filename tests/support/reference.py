"""A plain NumPy evaluation of a `Graph`, to compare everything else with: slow, in float64, NHWC.

With `ranges` the tensors named there are rounded to INT8 codes, with `kernels` convolutions too, by one of two rules:

- TensorRT's: codes -127..127; a convolution in `kernels` multiplies and adds integers (int64), its kernel rounded per
  output channel; y = acc * s_x * s_w + b.
- TAO's own fake quantization (`tao`): codes -128..127, and the kernels of `kernels` rounded per tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from qatkit.graph import nodes as n
from qatkit.graph.graph import Graph
from qatkit.quantization.folding import channel_axis, weight_codes

Tensors = dict[str, np.ndarray]


def evaluate(
    graph: Graph,
    images: np.ndarray,
    ranges: Mapping[str, float] | None = None,
    kernels: Collection[str] = (),
    *,
    tao: bool = False,
) -> Tensors:
    """Node name -> output [B, h, w, c].

    ranges: node name -> amax of its rounded output. kernels: convolutions whose kernels are rounded; by TensorRT's
    rule their input (or what pooling, padding or upsampling made it of) is to be on the grid of a range.
    """
    scales = {name: np.float64(np.float32(amax / 127)) for name, amax in (ranges or {}).items()}
    values: Tensors = {}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        if isinstance(node, n.Input):
            value = images.astype(np.float64)
        elif isinstance(node, n.CONVOLUTIONS):
            value = _convolution(graph, node, inputs[0], scales, rounded=node.name in kernels, tao=tao)
        else:
            value = _other(graph, node, inputs)
        if node.name in scales:
            codes = np.clip(np.rint(value / scales[node.name]), -128 if tao else -127, 127)
            value = codes * scales[node.name]
        values[node.name] = value
    return values


def _convolution(
    graph: Graph, node: Any, x: np.ndarray, scales: Mapping[str, np.float64], *, rounded: bool, tao: bool
) -> np.ndarray:
    kernel = graph.weight(node.name, "kernel")
    bias = graph.weight(node.name, "bias").astype(np.float64) if node.use_bias else 0.0
    if rounded and not tao:
        scale = _scale_of(graph, node.inputs[0], scales)
        assert scale is not None, f"{node.name} is to read integers, but its input has no range"
        return _integer_sums(node, x, kernel, scale) + bias
    return convolve(node, x, (_rounded_per_tensor(kernel) if rounded else kernel).astype(np.float64)) + bias


def _scale_of(graph: Graph, name: str, scales: Mapping[str, np.float64]) -> np.float64 | None:
    while name not in scales:
        if not isinstance(graph[name], (n.MaxPool, n.Pad, n.Upsample)):
            return None
        name = graph[name].inputs[0]
    return scales[name]


def _integer_sums(node: Any, x: np.ndarray, kernel: np.ndarray, scale: np.float64) -> np.ndarray:
    """TensorRT's convolution of integers, in units of the real numbers."""
    codes, weight_scale = weight_codes(kernel, channel_axis(node))
    integers = np.rint(x / scale)
    assert np.allclose(integers * scale, x)
    sums = convolve(node, integers.astype(np.int64), codes.astype(np.int64))
    return sums * (scale * weight_scale.astype(np.float64))


def _rounded_per_tensor(kernel: np.ndarray) -> np.ndarray:
    """A kernel as TAO rounds it: the grid -128..127 is fitted to whichever side needs it."""
    factors = [
        128 / -kernel.min() if kernel.min() < 0 else np.inf,
        127 / kernel.max() if kernel.max() > 0 else np.inf,
    ]
    factor = np.float32(min(factors))
    return np.clip(np.round(kernel * factor), -128, 127).astype(np.float32) / factor


def convolve(node: Any, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x [B, H, W, C] with kernel HWIO (depthwise HWC1)."""
    windows = _windows(x, node.kernel_size, node.strides, node.padding, node.dilation)
    if isinstance(node, n.DepthwiseConv2D):
        return np.einsum("bhwcij,ijc->bhwc", windows, kernel[..., 0])
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel, optimize=True)


def _windows(x: np.ndarray, size: Any, strides: Any, padding: Any, dilation: Any = (1, 1)) -> np.ndarray:
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    span = [(k - 1) * d + 1 for k, d in zip(size, dilation)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(1, 2))
    return windows[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


def _other(graph: Graph, node: Any, inputs: list[np.ndarray]) -> np.ndarray:  # noqa: C901 - one case per kind
    x = inputs[0]
    match node:
        case n.BatchNorm():
            gamma, beta, mean, variance = (graph.weight(node.name, part).astype(np.float64) for part in node.parts)
            return (x - mean) * gamma / np.sqrt(variance + node.epsilon) + beta
        case n.Relu():
            return np.maximum(x, 0)
        case n.Relu6():
            return np.clip(x, 0, 6)
        case n.LeakyRelu():
            return np.where(x > 0, x, np.float64(np.float32(node.alpha)) * x)
        case n.Swish():
            return x / (1 + np.exp(-x))
        case n.Sigmoid():
            return 1 / (1 + np.exp(-x))
        case n.Add():
            return np.sum(inputs, axis=0)
        case n.Multiply():
            return np.prod(np.broadcast_arrays(*inputs), axis=0)
        case n.Concat():
            return np.concatenate(inputs, axis=-1)
        case n.MaxPool():
            return _windows(x, node.kernel_size, node.strides, node.padding).max(axis=(-1, -2))
        case n.AvgPool():
            return _windows(x, node.kernel_size, node.strides, node.padding).mean(axis=(-1, -2))
        case n.GlobalAvgPool():
            return x.mean(axis=(1, 2), keepdims=True)
        case n.Pad():
            top, left, bottom, right = node.padding
            return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        case n.Upsample():
            return x.repeat(node.factors[0], axis=1).repeat(node.factors[1], axis=2)
    raise NotImplementedError(node.op)


def nchw(value: np.ndarray) -> np.ndarray:
    return value.transpose(0, 3, 1, 2)
