"""Tensor names as TAO 5 writes them into ONNX files and calibration caches.

DeepStream configurations in the field name them, so they stay as they are: `activation_1/Relu:0`,
`bn_conv1/batchnorm/add_1:0`, `output_cov/Sigmoid:0`; in the older UFF naming the same without `:0`.
"""

from __future__ import annotations

from typing import get_args

from qatkit.choices import TensorNames as TensorNames
from qatkit.errors import UsageError
from qatkit.graph.nodes import CONVOLUTIONS, Add, DepthwiseConv2D, Node


def tensor_name(node: Node, style: TensorNames = "onnx") -> str:
    """The name of the output tensor of `node`.

    A node called `<layer>/<Op>` bears its tensor's name already. Raises UsageError for an unknown style.
    """
    if style not in get_args(TensorNames):
        raise UsageError(f"unknown tensor names {style!r}", hint=f"one of {', '.join(get_args(TensorNames))}")
    bare = node.name if node.op == "Input" or "/" in node.name else f"{node.name}/{_operation(node)}"
    return bare + (":0" if style == "onnx" else "")


def _operation(node: Node) -> str:
    if isinstance(node, CONVOLUTIONS):
        if node.use_bias:
            return "BiasAdd"
        return "depthwise" if isinstance(node, DepthwiseConv2D) else "convolution"
    if isinstance(node, Add):
        # Keras adds two at a time: add, add_1, ...
        return "add" if len(node.inputs) == 2 else f"add_{len(node.inputs) - 2}"
    return node.tf_op or node.op
