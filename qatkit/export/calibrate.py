"""Measured ranges of every tensor of an ONNX network: it runs on images with ONNX Runtime, without a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from qatkit.quantization.calibration.calibrators import calibrator as find_calibrator
from qatkit.quantization.calibration.collect import collect, ranges

Images = Iterable[NDArray[np.float32]]


def calibrate(model: onnx.ModelProto, images: Images, calibrator: str = "entropy") -> dict[str, float]:
    """Tensor name -> amax, for the input and every tensor that an operation of `model` makes, in its order.

    images: batches [B, H, W, C] in 0..1; memory does not grow with their number.
    Raises UsageError for an unknown calibrator, DataError without images, ModelError for values that are no numbers.
    """
    choose = find_calibrator(calibrator)
    return ranges(collect(_tensors(model, images)), choose)


def _tensors(model: onnx.ModelProto, images: Images) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Per batch the values of every tensor by name, NCHW, in the order of the network."""
    session = _probing_session(model)
    image = session.get_inputs()[0].name
    names = [name for node in model.graph.node for name in node.output]
    for batch in images:
        feed = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)
        yield dict(zip([image, *names], [feed, *session.run(names, {image: feed})]))


def _probing_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """A session of `model` with every tensor as an output."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    present = {output.name for output in probed.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name not in present:
                probed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    return ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
