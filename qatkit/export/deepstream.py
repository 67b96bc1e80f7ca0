"""DeepStream's side files: `labels.txt` and a complete `nvinfer_config.txt` for the ONNX path.

What nvinfer does is in the sources that DeepStream installs: keys in gstnvinfer_property_parser.cpp, engine files in
nvdsinfer_model_builder.cpp, the decoding of DetectNet_v2 in nvdsinfer_context_impl_output_parsing.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qatkit import console
from qatkit.choices import DataType
from qatkit.detectnet.labels import Labels
from qatkit.errors import UsageError
from qatkit.export.export import ExportReport
from qatkit.files import write_text
from qatkit.graph.nodes import Shape
from qatkit.spec import ClusteringConfig, Experiment

_NETWORK_MODE = {"fp32": 0, "int8": 1, "fp16": 2}
_RGB, _GREY = 0, 2
_NMS = 2  # cluster-mode: 1 DBSCAN, 2 NMS, 3 both
_GPU = 0
# Fixed in nvinfer's own decoder.
_BOX_SCALE, _BOX_OFFSET = 35.0, 0.5
_DBSCAN = ClusteringConfig.DBSCAN
_DEFAULT_THRESHOLD = 0.2
_DEFAULT_NMS_IOU = 0.5


@dataclass(frozen=True)
class ClassThresholds:
    """Clustering of one class: least coverage of a cell, 0..1, and the IoU above which NMS drops a box."""

    pre_cluster: float = _DEFAULT_THRESHOLD
    nms_iou: float = _DEFAULT_NMS_IOU

    @classmethod
    def from_spec(cls, spec: Experiment, name: str) -> ClassThresholds:
        """Those of class `name`: nvinfer's NMS works on single cells, where a sum of coverages is no threshold.

        Raises UsageError for a class that the spec does not cluster.
        """
        if name not in spec.postprocessing_config.target_class_config:
            raise UsageError(f"the spec's postprocessing_config has no class {name}, which the model knows")
        config = spec.postprocessing_config.target_class_config[name].clustering_config
        # Specs keep nearly every cell for the precision-recall curve; a live picture must not show them all.
        least = max(config.coverage_threshold, _DEFAULT_THRESHOLD)
        if config.clustering_algorithm == _DBSCAN:
            return cls(least)
        return cls(max(least, config.nms_confidence_threshold), config.nms_iou_threshold or _DEFAULT_NMS_IOU)


@dataclass(frozen=True)
class DeepStream:
    """What nvinfer must know about an exported detector.

    onnx, cache: files, named relative to the configuration. input_shape: (height, width, channels).
    outputs: the names of the two output tensors. thresholds: one per class, or none. grid: rows and columns of the
    outputs, where known. batch: images at once.

    Raises UsageError for INT8 without a cache: nvinfer would build FP16, again at every start.
    """

    onnx: Path
    cache: Path | None
    data_type: DataType
    labels: Labels
    input_shape: Shape
    outputs: tuple[str, ...]
    thresholds: Sequence[ClassThresholds] = ()
    grid: tuple[int, int] | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if self.data_type == "int8" and self.cache is None:
            raise UsageError("DeepStream computes in INT8 only with a calibration cache", hint="--cal_cache_file")

    @classmethod
    def of(cls, report: ExportReport, spec: Experiment | None) -> DeepStream:
        """Of what was exported, thresholds from `spec` where there is one."""
        deployment = report.deployment
        graph, labels = deployment.graph, deployment.metadata.labels
        return cls(
            onnx=report.onnx,
            cache=report.cache,
            data_type=deployment.options.data_type,
            labels=labels,
            input_shape=graph.input.shape,
            outputs=deployment.outputs,
            thresholds=[] if spec is None else [ClassThresholds.from_spec(spec, name) for name in labels.classes],
            grid=graph.shape(graph.outputs[0])[:2],
            batch=deployment.options.static_batch_size or 1,
        )

    def text(self, folder: Path) -> str:
        """The configuration, for a file in `folder`."""
        height, width, channels = self.input_shape
        onnx = _relative(self.onnx, folder)
        mode = self.data_type
        properties = {
            "gpu-id": _GPU,
            "net-scale-factor": "0.00392156862745098",
            "offsets": ";".join(["0.0"] * channels),
            "onnx-file": onnx,
            # Where nvinfer writes the engine that it builds; under another name it would build one at every start.
            "model-engine-file": f"{onnx}_b{self.batch}_gpu{_GPU}_{mode}.engine",
            **({"int8-calib-file": _relative(self.cache, folder)} if self.cache and mode == "int8" else {}),
            "labelfile-path": "labels.txt",
            "infer-dims": f"{channels};{height};{width}",
            "batch-size": self.batch,
            "network-mode": _NETWORK_MODE[mode],
            "network-type": 0,
            "process-mode": 1,
            "num-detected-classes": len(self.labels.classes),
            "model-color-format": _RGB if channels == 3 else _GREY,
            "maintain-aspect-ratio": 0,
            "output-tensor-meta": 0,
            "interval": 0,
            "gie-unique-id": 1,
            "output-blob-names": ";".join(self.outputs),
            "cluster-mode": _NMS,
        }
        sections = [_section("property", properties), _section("class-attrs-all", _attributes(ClassThresholds()))]
        sections += [
            _section(f"class-attrs-{index}", _attributes(item)) for index, item in enumerate(self.thresholds)
        ]
        return "\n".join(sections)

    def misread(self) -> Iterator[str]:
        """What nvinfer's own decoder takes otherwise than this network means it, so that boxes come out wrong."""
        if self.labels.box_scale != _BOX_SCALE:
            yield f"boxes in units of {_BOX_SCALE:g} pixels, not of {self.labels.box_scale:g}"
        if self.labels.box_offset != _BOX_OFFSET:
            yield f"an offset of {_BOX_OFFSET:g} pixels, not of {self.labels.box_offset:g}"
        for side, pixels, cells in zip(("rows", "columns"), self.input_shape, self.grid or ()):
            if pixels % cells:  # It rounds the pitch up.
                yield f"{side} {-(-pixels // cells)} pixels apart, not {pixels / cells:.4g}"


def write_deepstream(config: DeepStream, folder: Path) -> list[Path]:
    """Write `labels.txt` and `nvinfer_config.txt` into `folder`; return their paths.

    Warns of a network whose boxes nvinfer would decode wrongly.
    """
    if misread := ", ".join(config.misread()):
        console.warn(f"nvinfer expects {misread}: DeepStream needs a parser of your own (parse-bbox-func-name)")
    labels, nvinfer = folder / "labels.txt", folder / "nvinfer_config.txt"
    write_text(labels, "".join(f"{name}\n" for name in config.labels.classes))
    write_text(nvinfer, config.text(folder))
    return [labels, nvinfer]


def _attributes(item: ClassThresholds) -> dict[str, object]:
    return {"topk": 200, "nms-iou-threshold": f"{item.nms_iou:g}", "pre-cluster-threshold": f"{item.pre_cluster:g}"}


def _section(name: str, values: dict[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def _relative(path: Path, folder: Path) -> str:
    resolved, base = path.resolve(), folder.resolve()
    # A backslash would be an escape there.
    return (resolved.relative_to(base) if resolved.is_relative_to(base) else resolved).as_posix()
