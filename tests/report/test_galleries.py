"""The images that a comparison shows, and the content of its result.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qatkit.analysis.tensor_error import layer_errors
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout
from qatkit.detectnet.clustering import Detections
from qatkit.engine.onnx_file import OnnxFile
from qatkit.evaluation.evaluate import ClassResult, OperatingPoint, Result
from qatkit.export.export import export
from qatkit.report.pictures import galleries
from qatkit.report.result import LayerErrors
from tests.support.frames import noise, write_image
from tests.support.models import QAT_TENSORS, float_model, images_of, options
from tests.support.report_content import row

BOX, AWAY = (2.0, 2.0, 20.0, 20.0), (30.0, 2.0, 50.0, 20.0)
LAYOUT = ImageLayout(64, 48)


@pytest.fixture
def frames(tmp_path: Path) -> FrameTable:
    paths = tuple(str(tmp_path / f"{name}.png") for name in "abcde")
    for path in paths:
        write_image(Path(path), noise(64, 48))
    count = len(paths)
    return FrameTable(
        classes=("car",),
        image_paths=paths,
        sizes=np.full((count, 2), (64, 48), np.int32),
        boxes=np.arange(3 * 4, dtype=np.float32).reshape(3, 4),
        class_ids=np.zeros(3, np.int32),
        row_splits=np.array([0, 1, 1, 1, 1, 3]),
        weights=np.ones(count, np.float32),
        sources=np.zeros(count, np.int32),
        upright=np.zeros(count, np.bool_),
    )


def test_layers_are_json(tmp_path: Path) -> None:
    model = float_model()
    report = export(model, tmp_path / "model.onnx", options(tmp_path), [images_of(model)])
    assert report.qdq is not None
    errors = layer_errors(OnnxFile.read(report.onnx), OnnxFile.read(report.qdq), [images_of(model)])
    entry = json.loads(json.dumps(LayerErrors("float", "int8-ptq", 1, errors).to_json()))
    assert (entry["model"], entry["precision"], entry["images"]) == ("float", "int8-ptq", 1)
    rows = entry["tensors"]
    assert [entry["tensor"] for entry in rows[:-2]] == QAT_TENSORS
    assert rows[1]["layer"] == "stem_relu" and rows[1]["cause"] == "" and rows[-1]["amax"] is None


def detections(*boxes: tuple[float, ...], confidence: float = 0.9) -> dict[int, Detections]:
    values = np.full(len(boxes), confidence, np.float32)
    return {0: Detections.of(np.array(boxes, np.float32).reshape(-1, 4), values, values, np.ones(len(boxes), int))}


def test_galleries_belong_to_float_models(frames: FrameTable) -> None:
    other: dict[str, Any] = {"params": 7, "macs": 7}
    rows = [
        *(row("a", "fp32", 80.0), row("a", "int8-ptq", 70.0)),
        *(row("b", "fp32", 81.0, **other), row("b", "int8-ptq", 81.0, **other), row("q", "int8-qat", 79.0, **other)),
        row("alone", "fp32", 10.0, params=1),
    ]
    result = Result(80.0, (ClassResult("car", 80.0, 3, 3, OperatingPoint(0.5, 1.0, 1.0, 1.0)),), 5)
    same, lost, unsure = detections(BOX), detections(), detections(BOX, AWAY, confidence=0.4)
    runs = [[same] * 5 for _ in rows]
    runs[1] = [same, lost, same, same, same]
    runs[4] = [same, same, same, same, unsure]
    found = galleries(rows, [result] * len(rows), runs, frames, LAYOUT)
    assert [(one.reference, [shown.file for shown in one.comparisons]) for one in found] == [
        ("a, FP32", ["b.png"]),
        ("b, FP32", ["e.png"]),
    ]
    # The threshold is that of the FP32 model: what is less confident there is not found.
    assert [panel.note for panel in found[1].comparisons[0].panels[2:]] == [
        *("1 found, 0 extra, 0 missed", "0 found, 0 extra, 1 missed"),
    ]
