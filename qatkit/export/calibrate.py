"""Measured ranges of every tensor of an ONNX network: it runs on images with ONNX Runtime, without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from qatkit.choices import CALIBRATOR, CalibratorName
from qatkit.errors import ModelError
from qatkit.export.onnx_model import with_batch
from qatkit.quantization.calibration.calibrators import calibrator as find_calibrator
from qatkit.quantization.calibration.collect import measure

Images = Iterable[NDArray[np.float32]]
# Tensor name -> values.
Values = dict[str, NDArray[np.float32]]


def calibrate(
    model: onnx.ModelProto,
    images: Images,
    calibrator: CalibratorName = CALIBRATOR,
    tensors: Collection[str] | None = None,
) -> dict[str, float]:
    """Tensor name -> amax, for the input and every float tensor that an operation of `model` makes, in its order.

    images: batches [B, H, W, C] in 0..1. As for TensorRT, the ranges of the entropy calibrator depend on which images
    are the first batch (`measure`), on nothing else of the order. tensors: only these, all without it.
    One image runs at a time and histograms are of fixed size: memory does not grow with the number of images, and
    with the batch by its pixels only.
    Raises UsageError for an unknown calibrator, DataError without images, ModelError for values that are no numbers
    and for a tensor that `model` does not have.
    """
    choose = find_calibrator(calibrator)
    names = _chosen(float_tensors(model), tensors)
    return measure(_probe(model, names), images, choose)


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """The input and every float32 tensor that an operation of `model` makes, in its order."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = (*graph.input, *graph.value_info, *graph.output)
    floats = {value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return [name for name in tensors_of(model) if name in floats]


def tensors_of(model: onnx.ModelProto) -> list[str]:
    """The input and every tensor that an operation of `model` makes, in its order."""
    return [model.graph.input[0].name, *(name for node in model.graph.node for name in node.output)]


def _chosen(available: list[str], wanted: Collection[str] | None) -> list[str]:
    if wanted is None:
        return available
    if strangers := set(wanted).difference(available):
        raise ModelError(f"the network has no float tensor {min(strangers)}")
    return [name for name in available if name in wanted]


def tensor_values(model: onnx.ModelProto, names: Collection[str], images: Images) -> Iterator[Values]:
    """Per image the values of the float tensors `names`, [1, C, H, W], computed in float also where there is Q/DQ.

    images: as for `calibrate`.
    """
    return _probe(model, names)(images)


def _probe(model: onnx.ModelProto, names: Collection[str]) -> Callable[[Images], Iterator[Values]]:
    """What `tensor_values` does with images, to be done more than once with one session."""
    image_name = model.graph.input[0].name
    made = [name for name in names if name != image_name]
    session = _probing_session(model, made)

    def run(images: Images) -> Iterator[Values]:
        for batch in images:
            for image in batch.transpose(0, 3, 1, 2):
                feed = {image_name: np.ascontiguousarray(image[None], np.float32)}
                # Not kept in a variable: it would hold the tensors of this image while the next one runs.
                yield {name: value for name, value in _run(session, made, feed) if name in names}

    return run


def _run(session: ort.InferenceSession, made: list[str], feed: Values) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The image, then the tensors `made`."""
    yield from feed.items()
    yield from zip(made, session.run(made, feed))


def _probing_session(model: onnx.ModelProto, names: list[str]) -> ort.InferenceSession:
    """A session of `model` with the tensors `names` among its outputs."""
    probed = with_batch(model, 0)
    present = {output.name for output in probed.graph.output}
    probed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in present
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Every tensor leaves the session, so the arena and the blocked layouts of the highest optimization level, which
    # are undone for each output, would only cost: 0.4 GB for a ResNet18 at 960x544.
    options.enable_cpu_mem_arena = False
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
