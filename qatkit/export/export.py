"""A model -> the files that are deployed, all from one set of ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from qatkit.choices import CacheScope, CalibratorName, DataType, Placement, TensorNames
from qatkit.errors import ModelError, UsageError
from qatkit.export.cache import (
    DEFAULT_TENSORRT,
    CalibrationCache,
    from_ranges,
    version_number,
    write_cache,
    write_ranges_json,
)
from qatkit.export.calibrate import calibrate
from qatkit.export.deployed import Deployed, deploy
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import to_onnx
from qatkit.export.qdq import to_qdq_onnx
from qatkit.files import write_bytes
from qatkit.graph.nodes import Graph
from qatkit.model.file import Model
from qatkit.quantization.calibration.calibrators import calibrator as find_calibrator
from qatkit.quantization.folding import snap_to_grid
from qatkit.quantization.placement import QuantizationPlan, place

Images = Iterable[NDArray[np.float32]]


@dataclass(frozen=True)
class ExportOptions:
    """What to write.

    cal_cache_file, cal_json_file: INT8 only. force_ptq: calibrate on images even if the model has QAT ranges.
    calibrator, placement, skip_layers: of post-training quantization; with skipped layers the cache lists only what
    the plan quantizes (a layer between INT8 layers has scales on both sides; only the Q/DQ file spares it).
    cal_scope: whether the cache of a QAT model also covers the tensors that QAT leaves out, with measured ranges
    ("all"), or not ("qat").
    trt_version: of the TensorRT that reads the cache. tensor_names: "onnx" (`input_1:0`) or "uff" (`input_1`).
    """

    data_type: DataType = "fp32"
    cal_cache_file: Path | None = None
    cal_json_file: Path | None = None
    force_ptq: bool = False
    calibrator: CalibratorName = "entropy"
    placement: Placement = "tensorrt"
    skip_layers: tuple[str, ...] = ()
    cal_scope: CacheScope = "all"
    trt_version: str = DEFAULT_TENSORRT
    tensor_names: TensorNames = "onnx"

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown calibrator or version now, not after minutes of calibration."""
        find_calibrator(self.calibrator)
        version_number(self.trt_version)


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    ranges: ONNX tensor -> amax, of every line in the cache. source: where the ranges of the quantized tensors are
    from, "qat" or "ptq"; None without INT8. uncovered: tensors of the ONNX that the cache does not name.
    calibrator: what measured ranges on images; None where no image was read. record: of those images, where one was
    written beside the cache (`workflow.export`).
    """

    onnx: Path
    qdq: Path | None = None
    cache: Path | None = None
    json: Path | None = None
    source: Literal["qat", "ptq"] | None = None
    ranges: Mapping[str, float] = field(default_factory=dict)
    uncovered: tuple[str, ...] = ()
    calibrator: str | None = None
    record: Path | None = None


@dataclass(frozen=True)
class _Quantized:
    """plan, and ranges by trained node for the Q/DQ ONNX; cache, and the tensors it leaves out; see ExportReport."""

    source: Literal["qat", "ptq"]
    plan: QuantizationPlan
    ranges: Mapping[str, float]
    cache: CalibrationCache
    uncovered: tuple[str, ...]
    calibrator: str | None


def plan_of(model: Model, options: ExportOptions) -> QuantizationPlan:
    """The placement that an INT8 export of `model` uses: that of its training, or a new one.

    Raises UsageError when `options` want another one than the model was trained with, or skip unknown layers.
    """
    if model.plan is not None and uses_qat(model, options):
        plan = QuantizationPlan.from_json(model.plan)
        plan.check(model.graph)
        if options.skip_layers or (options.placement == "tao" and plan.placement != "tao"):
            raise UsageError(
                "a QAT model keeps the placement it was trained with", hint="--force_ptq places anew, by calibration"
            )
        return plan
    return place(model.graph, options.placement, options.skip_layers)


def uses_qat(model: Model, options: ExportOptions) -> bool:
    """Whether an INT8 export of `model` takes the ranges of its training."""
    return model.is_qat and not options.force_ptq


def deployed_weights(model: Model, options: ExportOptions) -> Graph:
    """The network with the weights that are written.

    Those of a QAT model are INT8 codes times their scale, as in training's forward pass: from such a float kernel
    every TensorRT finds the same codes, whatever its rounding does to a weight half-way between two.
    """
    if options.data_type == "int8" and uses_qat(model, options):
        return snap_to_grid(model.graph, plan_of(model, options).weights)
    return model.graph


def export(model: Model, output: Path, options: ExportOptions, images: Images | None = None) -> ExportReport:
    """Write the clean float ONNX to `output`; for INT8 also the cache and `<output>.qdq.onnx`.

    images: batches [B, H, W, C] in 0..1 for calibration. Everything is computed before anything is written.
    Raises UsageError when INT8 needs images and there are none, ModelError when a network cannot be exported.
    """
    deployed = deploy(deployed_weights(model, options), options.tensor_names)
    metadata = metadata_of(model, options)
    clean = to_onnx(deployed, metadata)
    if options.data_type != "int8":
        write_bytes(output, clean.SerializeToString())
        return ExportReport(output)
    quantized = _quantize(model, deployed, clean, options, images)
    explicit = to_qdq_onnx(deployed, quantized.plan, quantized.ranges, metadata)
    qdq = output.with_suffix(".qdq.onnx")
    write_bytes(output, clean.SerializeToString())
    write_bytes(qdq, explicit.SerializeToString())
    if options.cal_cache_file is not None:
        write_cache(options.cal_cache_file, quantized.cache, tensors_of(clean))
    if options.cal_json_file is not None:
        write_ranges_json(options.cal_json_file, quantized.cache.ranges)
    return ExportReport(
        onnx=output,
        qdq=qdq,
        cache=options.cal_cache_file,
        json=options.cal_json_file,
        source=quantized.source,
        ranges=quantized.cache.ranges,
        uncovered=quantized.uncovered,
        calibrator=quantized.calibrator,
    )


def tensors_of(network: onnx.ModelProto) -> list[str]:
    """Names of the input and of every tensor that an operation makes."""
    made = [name for node in network.graph.node for name in node.output]
    return [network.graph.input[0].name, *made]


def metadata_of(model: Model, options: ExportOptions) -> Metadata:
    """What the ONNX of `model` says about itself."""
    graph = model.graph
    stride = graph.input.shape[0] // graph.shape(graph.outputs[0])[0]
    qat = plan_of(model, options).placement if uses_qat(model, options) else "no"
    return Metadata(model.classes, model.box_scale, model.box_offset, stride, qat)


def _quantize(
    model: Model, deployed: Deployed, clean: onnx.ModelProto, options: ExportOptions, images: Images | None
) -> _Quantized:
    plan = plan_of(model, options)
    trained = uses_qat(model, options)
    measured: dict[str, float] = {}
    if images is not None and (not trained or options.cal_scope == "all"):
        measured = calibrate(clean, images, options.calibrator)
    elif not trained:
        raise UsageError(
            "INT8 by calibration needs images", hint="--cal_image_dir, or -e with the spec of the training data"
        )
    ranges = _trained_ranges(model, plan) if trained else _by_node(deployed, measured, plan)
    # Implicit quantization takes every tensor with a scale for INT8: a skipped layer must not get one that way.
    by_tensor = _by_tensor(clean, _planned(deployed, plan, ranges), {} if plan.skip else measured)
    uncovered = tuple(name for name in deployed.tensors.values() if name not in by_tensor)
    cache = from_ranges(by_tensor, options.trt_version)
    calibrator = options.calibrator if measured else None
    return _Quantized("qat" if trained else "ptq", plan, ranges, cache, uncovered, calibrator)


def _trained_ranges(model: Model, plan: QuantizationPlan) -> dict[str, float]:
    if missing := [name for name in plan.activations if name not in model.ranges]:
        raise ModelError(f"layer {missing[0]}: the model has no range for its output", hint="train it with QAT again")
    return dict(model.ranges)


def _by_node(deployed: Deployed, measured: Mapping[str, float], plan: QuantizationPlan) -> dict[str, float]:
    """Measured ranges of the plan's tensors, by node of the trained network."""
    tensors = {name: deployed.tensor_of(name) for name in plan.activations}
    return {name: measured[tensor] for name, tensor in tensors.items() if tensor is not None}


def _planned(deployed: Deployed, plan: QuantizationPlan, ranges: Mapping[str, float]) -> dict[str, float]:
    """ONNX tensor -> range, of what the plan quantizes and of what shares such a range."""
    found = {}
    for trained in deployed.origin:
        source, tensor = plan.range_source(trained), deployed.tensor_of(trained)
        if source is not None and tensor is not None:
            found[tensor] = ranges[source]
    return found


def _by_tensor(
    clean: onnx.ModelProto, planned: Mapping[str, float], measured: Mapping[str, float]
) -> dict[str, float]:
    """Range of every tensor of `clean` that has one, in its order: the plan's first, else the measured one."""
    # Zeros around an image that is pooled do not change its range. Measured is every tensor, those inside a swish or
    # a sum of three too.
    pads = {node.output[0]: node.input[0] for node in clean.graph.node if node.op_type == "Pad"}
    padded = {tensor: planned[source] for tensor, source in pads.items() if source in planned}
    both = {**measured, **padded, **planned}
    return {tensor: both[tensor] for tensor in tensors_of(clean) if tensor in both}
