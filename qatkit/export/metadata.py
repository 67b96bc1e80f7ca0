"""What an exported ONNX file says about itself, so that evaluating it needs no training spec."""

from __future__ import annotations

import json
from dataclasses import dataclass

import onnx

import qatkit
from qatkit.errors import ModelError

_PREFIX = "qatkit."


@dataclass(frozen=True)
class Metadata:
    """classes: in the order of the channels. box_scale, box_offset: see `graph.model_file.Model`.

    stride: input pixels per cell of the grid. qat: the placement a model was trained for quantization with, or "no".
    """

    classes: tuple[str, ...]
    box_scale: float
    box_offset: float
    stride: int
    qat: str = "no"
    tool_version: str = qatkit.__version__

    def write(self, model: onnx.ModelProto) -> None:
        """Put every field into the metadata_props of `model`."""
        values = {
            "classes": json.dumps(list(self.classes)),
            "box_scale": repr(self.box_scale),
            "box_offset": repr(self.box_offset),
            "stride": str(self.stride),
            "qat": self.qat,
            "tool_version": self.tool_version,
        }
        onnx.helper.set_model_props(model, {_PREFIX + key: value for key, value in values.items()})

    @classmethod
    def read(cls, model: onnx.ModelProto) -> Metadata | None:
        """The metadata of `model`; None when it was not written by qatkit. Raises ModelError when damaged."""
        values = {item.key: item.value for item in model.metadata_props}
        if f"{_PREFIX}classes" not in values:
            return None
        try:
            classes = tuple(str(name) for name in json.loads(values[f"{_PREFIX}classes"]))
            return cls(
                classes=classes,
                box_scale=float(values[f"{_PREFIX}box_scale"]),
                box_offset=float(values[f"{_PREFIX}box_offset"]),
                stride=int(values[f"{_PREFIX}stride"]),
                qat=values[f"{_PREFIX}qat"],
                tool_version=values[f"{_PREFIX}tool_version"],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"the metadata of this ONNX file is damaged: {error}") from error
