"""What an exported ONNX file says about itself, so that evaluating it needs no training spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx

import qatkit
from qatkit.detectnet.labels import Labels
from qatkit.errors import ModelError

_PREFIX = "qatkit."


@dataclass(frozen=True)
class Metadata:
    """What the channels mean, and more.

    stride: input pixels per cell of the grid. qat: the placement a model was trained for quantization with, or "no".
    """

    labels: Labels
    stride: int
    qat: str = "no"
    tool_version: str = qatkit.__version__

    def to_json(self) -> dict[str, Any]:
        """Every field, as a sidecar has it."""
        return {**asdict(self.labels), "stride": self.stride, "qat": self.qat, "tool_version": self.tool_version}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Metadata:
        """Inverse of `to_json`; numbers may be text. Raises KeyError, ValueError or TypeError for other values."""
        classes = tuple(str(name) for name in values["classes"])
        labels = Labels(classes, float(values["box_scale"]), float(values["box_offset"]))
        return cls(labels, int(values["stride"]), values["qat"], values["tool_version"])

    def write(self, model: onnx.ModelProto) -> None:
        """Put every field into the metadata_props of `model`."""
        fields = self.to_json().items()
        values = {_PREFIX + key: value if isinstance(value, str) else json.dumps(value) for key, value in fields}
        onnx.helper.set_model_props(model, values)

    @classmethod
    def read(cls, model: onnx.ModelProto) -> Metadata | None:
        """The metadata of `model`; None when it was not written by qatkit. Raises ModelError when damaged."""
        found = {item.key: item.value for item in model.metadata_props}
        if f"{_PREFIX}classes" not in found:
            return None
        values = {key.removeprefix(_PREFIX): value for key, value in found.items() if key.startswith(_PREFIX)}
        try:
            return cls.from_json({**values, "classes": json.loads(values["classes"])})
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"the metadata of this ONNX file is damaged: {error}") from error
