"""`qatkit inference` on networks that do not describe themselves, and as TAO clusters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import ModelInfo
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import export
from qatkit.model.file import Model
from tests.support.commands import qatkit, replaced, succeed
from tests.support.frames import noise, write_image
from tests.support.networks import Net
from tests.support.specs import INFERENCE


class ThreeCells:
    """Finds three boxes in every image, with coverages 0.3, 0.9 and 0.6."""

    name, precision = "three", "fp32"
    info = ModelInfo((48, 64, 3), Labels(("car",)))

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cov, bbox = np.zeros((len(images), 1, 3, 4), np.float32), np.zeros((len(images), 4, 3, 4), np.float32)
        cov[:, 0, 0, :3] = 0.3, 0.9, 0.6
        bbox[:, 2:, 0, 0] = 0.3  # 10 pixels to the right and down
        bbox[:, 2:, 0, 1] = 0.3
        bbox[:, 0, 0, 1] = -0.1
        bbox[:, 2:, 0, 2] = 0.3
        return cov, bbox


def confidences(tmp_path: Path, *flags: str) -> list[float]:
    spec = tmp_path / "spec.txt"
    nms = "clustering_algorithm: NMS nms_iou_threshold: 0.5 nms_confidence_threshold: 0.35 coverage_threshold: 0.1"
    spec.write_text(replaced(INFERENCE, ("dbscan_eps: 0.3", nms)))
    write_image(tmp_path / "images" / "a.png", noise(64, 48))
    succeed("inference", "-e", spec, "-i", tmp_path / "images", "-r", tmp_path / "out", *flags)
    found: dict[str, list[dict[str, Any]]] = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    return [round(item["confidence"], 3) for item in found["a.png"]]


def test_confidences_of_nms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAO reads them where its NMS has moved those of other boxes to."""
    monkeypatch.setattr("qatkit.workflow.inference.open_engine", lambda *arguments, **options: ThreeCells())
    assert confidences(tmp_path) == [0.9, 0.6]
    assert confidences(tmp_path, "--tao_compat") == [0.6, 0.3]


def test_an_onnx_of_tao_has_the_classes_of_the_spec(tmp_path: Path) -> None:
    net = Net(48, 64)
    net.heads(net.conv_bn_relu("stem", net.input, 8, stride=16), classes=1)
    path = tmp_path / "model.onnx"
    export(Model(net.graph(), Labels(("anything",))), path, ExportOptions())
    bare = onnx.load(path)
    del bare.metadata_props[:]
    onnx.save(bare, path)
    write_image(tmp_path / "images" / "a.png", noise(64, 48))
    spec = tmp_path / "spec.txt"
    spec.write_text(INFERENCE)
    arguments = ("inference", "-e", spec, "-i", tmp_path / "images", "-r", tmp_path / "out", "-m", path)
    succeed(*arguments)
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["classes"] == ["car"]
    spec.write_text(replaced(INFERENCE, ('target_classes: "car"', "")))
    outcome = qatkit(*arguments)
    assert (outcome.code, "does not say what its classes are" in outcome.err) == (2, True)
    two = (('target_classes: "car"', 'target_classes: "car" target_classes: "van"'), ('key: "car"', 'key: "default"'))
    spec.write_text(replaced(INFERENCE, *two))
    outcome = qatkit(*arguments)
    assert (outcome.code, "the network has 1 classes, the spec 2" in outcome.err) == (2, True)
