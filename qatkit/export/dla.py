"""What of a network a deep learning accelerator (DLA) cannot run in INT8, by the limits that NVIDIA documents.

TensorRT builds such a layer for the GPU instead. Sources: the comments of IConvolutionLayer and IPoolingLayer in
NvInfer.h of TensorRT 10, those of IResizeLayer in its Python API, and "DLA Supported Layers and Restrictions" in its
guide. Activations (ReLU, clipped and leaky ReLU, sigmoid), sums, products, concatenation of channels and
nearest-neighbour enlargement are within them, in the form in which this exporter writes them; leaky ReLU by the
guide, NvInfer.h does not name it. These sources give no rule for zeros around an image that no convolution takes in
(Pad) and for the mean over a whole image, and so nothing is said of them here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qatkit.export.deployed import Deployed
from qatkit.graph.nodes import CONVOLUTIONS, Node, Shape, Window

# Field of a node -> smallest and largest value in rows or columns.
_CONVOLUTION = {"kernel_size": (1, 32), "strides": (1, 8), "padding": (0, 31), "dilation": (1, 32)}
_POOLING = {"kernel_size": (1, 8), "strides": (1, 16), "padding": (0, 7)}
_LARGEST_EXTENT = 8192  # rows, columns, channels


def beyond_dla(deployed: Deployed, ranges: Mapping[str, float]) -> list[str]:
    """A line for each limit that a layer exceeds, empty where none does. ranges: ONNX tensor -> amax."""
    graph = deployed.graph
    return [
        f"{node.name}: {problem}"
        for node in graph.nodes
        for problem in (
            *_sizes(node),
            *_extent(graph.shape(node.name)),
            *_pooled_ranges(node, [ranges.get(deployed.tensors[name]) for name in (*node.inputs, node.name)]),
        )
    ]


def _sizes(node: Node) -> Iterator[str]:
    """Windows, strides, paddings and dilations."""
    limits = _CONVOLUTION if isinstance(node, CONVOLUTIONS) else _POOLING
    if not isinstance(node, Window):
        return
    for name, (low, high) in limits.items():
        values = getattr(node, name)
        if not all(low <= value <= high for value in values):
            yield f"{name} {'x'.join(map(str, values))}, a DLA takes {low} to {high}"
    (top, left, bottom, right), (rows, columns) = node.padding, node.kernel_size
    if isinstance(node, CONVOLUTIONS) and (max(top, bottom) >= rows or max(left, right) >= columns):
        yield f"padding {top}x{left}x{bottom}x{right}, on a DLA smaller than the kernel"


def _extent(shape: Shape) -> Iterator[str]:
    if max(shape) > _LARGEST_EXTENT:
        yield f"{max(shape)} rows, columns or channels, a DLA takes {_LARGEST_EXTENT}"


def _pooled_ranges(node: Node, ranges: list[float | None]) -> Iterator[str]:
    """In INT8 a DLA pools only where input and output have one range. ranges: of the inputs, then the output."""
    if isinstance(node, Window) and not isinstance(node, CONVOLUTIONS) and len(set(ranges)) > 1:
        yield "its input and its output have different ranges, a DLA pools in INT8 within one"
