"""Models to export: residual networks, float and as after quantization-aware training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qatkit.detectnet.labels import Labels
from qatkit.export.deployment import ExportOptions
from qatkit.model.file import Model
from qatkit.quantization.placement import place
from tests.support.networks import Net, residual
from tests.support.reference import evaluate

TENSORS = [
    *("input_1:0", "stem_bn/batchnorm/add_1:0", "stem_relu/Relu:0", "a_bn/batchnorm/add_1:0", "a_relu/Relu:0"),
    *("b_bn/batchnorm/add_1:0", "shortcut_bn/batchnorm/add_1:0", "sum/add:0", "sum_relu/Relu:0"),
    *("output_bbox/BiasAdd:0", "output_cov/BiasAdd:0", "output_cov/Sigmoid:0"),
]
QAT_TENSORS = [
    *("input_1:0", "stem_relu/Relu:0", "a_relu/Relu:0", "shortcut_bn/batchnorm/add_1:0", "sum_relu/Relu:0"),
]


def model_of(net: Net, *, qat: bool, placement: Any = "tensorrt") -> Model:
    graph = net.graph()
    if not qat:
        return Model(graph, Labels(("car", "person"), 30.0, 0.25))
    plan = place(graph, placement)
    values = evaluate(graph, images_of(Model(graph, Labels(("x",)))))
    ranges = {name: float(np.abs(values[name]).max()) for name in plan.activations}
    return Model(graph, Labels(("car", "person"), 30.0, 0.25), ranges, plan)


def images_of(model: Model, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(count, *model.graph.input.shape)).astype(np.float32)


def options(tmp_path: Path, **changes: Any) -> ExportOptions:
    base = ExportOptions(data_type="int8", cal_cache_file=tmp_path / "cal.bin", calibrator="minmax")
    return replace(base, **changes)


def float_model() -> Model:
    return model_of(residual(projection=True), qat=False)


def qat_model() -> Model:
    return model_of(residual(projection=True), qat=True)
