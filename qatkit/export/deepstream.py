"""DeepStream's side files: `labels.txt` and a complete `nvinfer_config.txt` for the ONNX path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qatkit.export.export import DataType
from qatkit.files import write_text
from qatkit.graph.nodes import Shape

_NETWORK_MODE = {"fp32": 0, "int8": 1, "fp16": 2}
_RGB, _GREY = 0, 2
_NMS = 2  # cluster-mode: 1 DBSCAN, 2 NMS, 3 both
_DEFAULT_THRESHOLD = 0.2
_DEFAULT_NMS_IOU = 0.5


@dataclass(frozen=True)
class ClassThresholds:
    """Clustering of one class: least coverage of a cell, 0..1, and the IoU above which NMS drops a box."""

    pre_cluster: float = _DEFAULT_THRESHOLD
    nms_iou: float = _DEFAULT_NMS_IOU


@dataclass(frozen=True)
class DeepStream:
    """What nvinfer must know about an exported detector.

    onnx, cache: files, named relative to the configuration. input_shape: (height, width, channels).
    outputs: the names of the two output tensors. thresholds: one per class, or none.
    """

    onnx: Path
    cache: Path | None
    data_type: DataType
    classes: tuple[str, ...]
    input_shape: Shape
    outputs: tuple[str, ...]
    thresholds: Sequence[ClassThresholds] = ()

    def text(self, folder: Path) -> str:
        """The configuration, for a file in `folder`."""
        height, width, channels = self.input_shape
        onnx = _relative(self.onnx, folder)
        mode = self.data_type
        properties = {
            "gpu-id": 0,
            "net-scale-factor": "0.00392156862745098",
            "offsets": ";".join(["0.0"] * channels),
            "onnx-file": onnx,
            # The name that TensorRT's ONNX path of nvinfer gives the engine it builds: batch, GPU and precision.
            "model-engine-file": f"{onnx}_b1_gpu0_{mode}.engine",
            **({"int8-calib-file": _relative(self.cache, folder)} if self.cache and mode == "int8" else {}),
            "labelfile-path": "labels.txt",
            "infer-dims": f"{channels};{height};{width}",
            "batch-size": 1,
            "network-mode": _NETWORK_MODE[mode],
            "network-type": 0,
            "process-mode": 1,
            "num-detected-classes": len(self.classes),
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


def write_deepstream(config: DeepStream, folder: Path) -> list[Path]:
    """Write `labels.txt` and `nvinfer_config.txt` into `folder`; return their paths."""
    labels, nvinfer = folder / "labels.txt", folder / "nvinfer_config.txt"
    write_text(labels, "".join(f"{name}\n" for name in config.classes))
    write_text(nvinfer, config.text(folder))
    return [labels, nvinfer]


def _attributes(item: ClassThresholds) -> dict[str, object]:
    return {"topk": 200, "nms-iou-threshold": f"{item.nms_iou:g}", "pre-cluster-threshold": f"{item.pre_cluster:g}"}


def _section(name: str, values: dict[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def _relative(path: Path, folder: Path) -> str:
    resolved, base = path.resolve(), folder.resolve()
    return str(resolved.relative_to(base)) if resolved.is_relative_to(base) else str(resolved)
