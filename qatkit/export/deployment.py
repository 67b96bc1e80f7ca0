"""A model and what is wanted of it, resolved once: which weights, which tensors, which placement, which ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from qatkit.choices import CALIBRATOR, PLACEMENT, CacheScope, CalibratorName, DataType, Placement, TensorNames
from qatkit.errors import ModelError, UsageError
from qatkit.export.cache import DEFAULT_TENSORRT, version_number
from qatkit.export.calibrate import Images, calibrate, tensors_of
from qatkit.export.deployed import Deployed, deploy
from qatkit.export.metadata import Metadata
from qatkit.graph.graph import Graph
from qatkit.model.file import Model
from qatkit.quantization.calibration.calibrators import calibrator as find_calibrator
from qatkit.quantization.folding import snap_to_grid
from qatkit.quantization.placement import place
from qatkit.quantization.plan import QuantizationPlan


@dataclass(frozen=True)
class ExportOptions:
    """What to write.

    cal_cache_file, cal_json_file: INT8 only. force_ptq: calibrate on images even if the model has QAT ranges.
    calibrator, placement, skip_layers: of post-training quantization; with skipped layers the cache lists only what
    the plan quantizes (a layer between INT8 layers has scales on both sides; only the Q/DQ file spares it).
    cal_scope: whether the cache of a QAT model also covers the tensors that QAT leaves out, with measured ranges
    ("all"), or not ("qat").
    static_batch_size: the number of images that every ONNX takes at once, for readers that need one; 0 = any.
    trt_version: of the TensorRT that reads the cache. tensor_names: "onnx" (`input_1:0`) or "uff" (`input_1`).
    """

    data_type: DataType = "fp32"
    cal_cache_file: Path | None = None
    cal_json_file: Path | None = None
    force_ptq: bool = False
    calibrator: CalibratorName = CALIBRATOR
    placement: Placement = PLACEMENT
    skip_layers: tuple[str, ...] = ()
    cal_scope: CacheScope = "all"
    trt_version: str = DEFAULT_TENSORRT
    tensor_names: TensorNames = "onnx"
    static_batch_size: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown calibrator, a version or a batch now, not after minutes of calibration."""
        if self.static_batch_size < 0:
            raise UsageError(f"a fixed batch of {self.static_batch_size} images", hint="at least 1; 0 = any number")
        find_calibrator(self.calibrator)
        version_number(self.trt_version)


@dataclass(frozen=True)
class Ranges:
    """by_node: node of the trained network -> amax, at least for what the plan quantizes: for the Q/DQ ONNX.

    by_tensor: ONNX tensor -> amax, in the network's order: for the cache. uncovered: tensors that it leaves out.
    calibrator: what measured ranges on images; None where no image was read.
    """

    by_node: Mapping[str, float]
    by_tensor: Mapping[str, float]
    uncovered: tuple[str, ...]
    calibrator: str | None


@dataclass(frozen=True)
class Deployment:
    """graph: the trained network with the weights that are written. deployed: as it runs, its tensors named.

    plan: what is quantized; None for a float export of a model without QAT. trained: whether an INT8 export takes the
    ranges of the training. metadata: what the ONNX says about itself.
    """

    model: Model
    options: ExportOptions
    graph: Graph
    plan: QuantizationPlan | None
    trained: bool
    deployed: Deployed
    metadata: Metadata

    @classmethod
    def of(cls, model: Model, options: ExportOptions) -> Deployment:
        """How `model` is deployed by `options`.

        Raises UsageError when they want another placement than the model was trained with, or skip unknown layers;
        ModelError for a plan of another network, or when two tensors would bear one name.
        """
        trained, int8 = model.is_qat and not options.force_ptq, options.data_type == "int8"
        graph, plan = model.graph, _trained_plan(model, options) if trained else None
        if plan is not None and int8:
            # INT8 codes times their scale, as in training's forward pass: from such a float kernel every TensorRT
            # finds the same codes, whatever its rounding does to a weight half-way between two.
            graph = snap_to_grid(graph, plan.weights)
        stride = graph.input.shape[0] // graph.shape(graph.outputs[0])[0]
        metadata = Metadata(model.labels, stride, "no" if plan is None else plan.placement)
        if int8 and not trained:
            plan = place(graph, options.placement, options.skip_layers)
        return cls(model, options, graph, plan, trained, deploy(graph, options.tensor_names), metadata)

    @property
    def int8_plan(self) -> QuantizationPlan:
        """The plan of an INT8 export."""
        assert self.plan is not None and self.options.data_type == "int8"
        return self.plan

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the output tensors."""
        return tuple(self.deployed.tensors[name] for name in self.deployed.graph.outputs)

    def ranges(self, clean: onnx.ModelProto, images: Images | None) -> Ranges:
        """The ranges of an INT8 export: those of the training, or measured by running `clean`, its float ONNX.

        images: batches [B, H, W, C] in 0..1. Raises UsageError when images are needed and there are none, ModelError
        for a trained model that lacks a range.
        """
        plan = self.int8_plan
        measured: dict[str, float] = {}
        if images is not None and (not self.trained or self.options.cal_scope == "all"):
            measured = calibrate(clean, images, self.options.calibrator)
        elif not self.trained:
            raise UsageError(
                "INT8 by calibration needs images", hint="--cal_image_dir, or -e with the spec of the training data"
            )
        by_node = self._trained_ranges() if self.trained else self.by_node(measured)
        # Of what the plan quantizes and of what shares such a range.
        sources = {tensor: plan.range_source(name) for name, tensor in self.deployed.trained_tensors.items()}
        planned = {tensor: by_node[source] for tensor, source in sources.items() if source is not None}
        # Zeros around an image that is pooled do not change its range.
        pads = {node.output[0]: node.input[0] for node in clean.graph.node if node.op_type == "Pad"}
        padded = {tensor: planned[source] for tensor, source in pads.items() if source in planned}
        # Measured is every tensor, those inside a swish or a sum of three too. But implicit quantization takes every
        # tensor with a scale for INT8: a skipped layer must not get one that way.
        known = {**({} if plan.skip else measured), **padded, **planned}
        by_tensor = {tensor: known[tensor] for tensor in tensors_of(clean) if tensor in known}
        uncovered = tuple(name for name in self.deployed.tensors.values() if name not in by_tensor)
        return Ranges(by_node, by_tensor, uncovered, self.options.calibrator if measured else None)

    def by_node(self, ranges: Mapping[str, float]) -> dict[str, float]:
        """`ranges`, ONNX tensor -> amax, by node of the trained network."""
        tensors = self.deployed.trained_tensors
        return {name: ranges[tensor] for name, tensor in tensors.items() if tensor in ranges}

    def _trained_ranges(self) -> dict[str, float]:
        if missing := [name for name in self.int8_plan.activations if name not in self.model.ranges]:
            raise ModelError(
                f"layer {missing[0]}: the model has no range for its output", hint="train it with QAT again"
            )
        return dict(self.model.ranges)


def _trained_plan(model: Model, options: ExportOptions) -> QuantizationPlan:
    assert model.plan is not None
    if options.skip_layers or (options.placement == "tao" and model.plan.placement != "tao"):
        raise UsageError(
            "a QAT model keeps the placement it was trained with", hint="--force_ptq places anew, by calibration"
        )
    return model.plan
