"""ONNX Runtime as it is, to compare with."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from tests.support.reference import nchw


def run(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by name, without ONNX Runtime's optimizations (they round float biases to integers)."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = nchw(images).astype(np.float32)
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: feed})))
