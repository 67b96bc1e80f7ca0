"""An ONNX file of a detector, read and checked once, and then handed on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import ModelInfo, find_heads
from qatkit.engine.int8.graph import OnnxGraph, parse
from qatkit.engine.int8.scheme import has_qdq
from qatkit.errors import ModelError
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import OPSET
from qatkit.export.scales import scales_for
from qatkit.graph.nodes import Shape


@dataclass(frozen=True)
class OnnxFile:
    """proto: at least of the opset that the exporter writes. graph: the same, parsed.

    path: where it lies; of a network in memory only its name in messages. input_shape: (height, width, channels).
    heads: names of the coverage and the bbox output. metadata: None when qatkit did not write it.
    """

    path: Path
    proto: onnx.ModelProto
    graph: OnnxGraph
    input_shape: Shape
    heads: tuple[str, str]
    metadata: Metadata | None

    @classmethod
    def read(cls, path: Path) -> OnnxFile:
        """The file at `path`. Raises ModelError for one that is missing, damaged or no detector."""
        try:
            proto = onnx.load(path)
            opset = next((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), 0)
            if opset < OPSET:
                proto = _with_opset(proto)
            onnx.checker.check_model(proto)
        except OSError as error:
            raise ModelError(f"{path}: cannot read this model: {error.strerror or error}") from error
        except Exception as error:  # protobuf, checker and version converter have no common base
            raise ModelError(f"{path}: damaged, or no ONNX file: {str(error).splitlines()[0][:200]}") from error
        return cls.of(proto, path)

    @classmethod
    def of(cls, proto: onnx.ModelProto, path: Path) -> OnnxFile:
        """A network in memory, or from the file `path`. Raises ModelError for one that is no detector."""
        metadata = Metadata.read(proto)
        graph = parse(proto)
        channels, height, width = graph.image
        if min(channels, height, width) < 1:
            raise ModelError(f"{path}: the size of its images is not fixed")
        outputs = {output.name: output.type.tensor_type.shape.dim for output in proto.graph.output}
        heads = find_heads({name: dims[1].dim_value if len(dims) > 1 else 0 for name, dims in outputs.items()}, path)
        return cls(path, proto, graph, (height, width, channels), heads, metadata)

    @property
    def has_qdq(self) -> bool:
        """Whether the file spells out its quantization."""
        return has_qdq(self.graph)

    @property
    def batch(self) -> int:
        """The number of images that it takes at once; 0 = any."""
        image = next(item for item in self.proto.graph.input if item.name == self.graph.input)
        # Some exporters write -1 for any.
        return int(max(image.type.tensor_type.shape.dim[0].dim_value, 0))

    @property
    def int8_precision(self) -> str:
        """How its INT8 form is called, by where the ranges are from: int8-qat or int8-ptq."""
        return "int8-qat" if self.metadata is not None and self.metadata.qat != "no" else "int8-ptq"

    def info(self, labels: Labels | None) -> ModelInfo:
        """What its tensors mean. labels: of a spec. Raises UsageError when neither names the classes."""
        return ModelInfo.of(self.input_shape, self.metadata, labels, self.path)

    def scales(self, cal_cache: Path) -> dict[str, float]:
        """The usable scales of a calibration cache; see `scales_for` for warnings and errors."""
        return scales_for(self.graph.tensors, cal_cache)


def _with_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    properties = {item.key: item.value for item in proto.metadata_props}
    converted = onnx.version_converter.convert_version(proto, OPSET)
    helper.set_model_props(converted, properties)
    return converted
