"""A float32 ONNX -> the same network in float16, for builders that take precision from the types of the file."""

from __future__ import annotations

import copy

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from qatkit.errors import ModelError


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with float16 weights and operations; images and outputs stay float32, cast inside.

    Raises ModelError for a network that cannot be converted.
    """
    try:
        # It works on the model that it is given, and appends the casts behind all other operations.
        half = convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
        OnnxModel.graph_topological_sort(half.graph)
        onnx.checker.check_model(half, full_check=True)
    except Exception as error:  # the converter, checker and shape inference have no common base
        raise ModelError(f"the ONNX cannot be written in float16: {str(error).splitlines()[0]}") from error
    return half
