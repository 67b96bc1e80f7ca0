"""What a comparison found: the content of result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qatkit.analysis.sensitivity import Sensitivity
from qatkit.analysis.tensor_error import TensorError
from qatkit.errors import GateError, UsageError
from qatkit.report.rows import FLOAT


@dataclass(frozen=True)
class MeasuredModel:
    """What one deployed file is worth. map, ap: percent, None for a class without objects. fps: images per second.

    precision: fp32, int8-ptq or int8-qat.
    """

    name: str
    precision: str
    engine: str
    map: float
    ap: Mapping[str, float | None]
    fps: float
    size_bytes: int
    params: int
    macs: int


@dataclass(frozen=True)
class LayerErrors:
    """The error of every tensor of one INT8 file against its float network, on `images` images."""

    model: str
    precision: str
    images: int
    tensors: Sequence[TensorError]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        tensors = [{"layer": one.layer, **asdict(one), "cause": one.cause} for one in self.tensors]
        return {"model": self.model, "precision": self.precision, "images": self.images, "tensors": tensors}


@dataclass(frozen=True)
class LayerCosts:
    """What every layer of one INT8 file costs."""

    model: str
    precision: str
    found: Sensitivity

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        return {"model": self.model, "precision": self.precision, **asdict(self.found)}


@dataclass(frozen=True)
class ComparisonResult:
    """All models on the same data.

    dataset: how many images and boxes it has. environment: what the models were measured with, such as versions.
    sensitivity: empty where it was not measured.
    """

    models: Sequence[MeasuredModel]
    dataset: Mapping[str, int]
    environment: Mapping[str, str | int | None]
    layers: Sequence[LayerErrors]
    sensitivity: Sequence[LayerCosts] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dictionaries."""
        values: dict[str, Any] = {
            "models": [asdict(row) for row in self.models],
            "dataset": dict(self.dataset),
            "environment": dict(self.environment),
            "layers": [entry.to_json() for entry in self.layers],
        }
        if self.sensitivity:
            values["sensitivity"] = [entry.to_json() for entry in self.sensitivity]
        return values

    def check_drop(self, allowed: float) -> None:
        """Raise GateError when an INT8 model is more than `allowed` below the best FP32 model."""
        floats = [row.map for row in self.models if row.precision == FLOAT]
        if not floats:
            raise UsageError("--max_drop needs a float model to compare with")
        for row in self.models:
            drop = max(floats) - row.map
            if row.precision != FLOAT and drop > allowed:
                raise GateError(f"{row.name} ({row.precision}) is {drop:.2f} mAP below FP32, more than {allowed:g}")
