"""Models that TAO 5 saved, through every command: they compute what TAO computes, and go on from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qatkit.detectnet.labels import Labels
from qatkit.engine.keras import KerasEngine
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.model.file import Model
from qatkit.model.open import open_model
from tests.support import golden_data
from tests.support.commands import replaced, succeed
from tests.support.keras_files import tiny_description, tiny_weights, write_keras_file
from tests.support.one_code import one_code
from tests.support.reference import evaluate
from tests.support.workspace import CLASSES, HEIGHT, QAT_EPOCHS, TRAINING, VALIDATION, WIDTH, Workspace

TOPIC = "12_hdf5"


def _cases() -> list[dict[str, Any]]:
    return [case for case in golden_data.cases(TOPIC) if (golden_data.ROOT / TOPIC / case["file"]).exists()]


CASES = pytest.mark.parametrize("case", golden_data.params(TOPIC, _cases()))


@CASES
def test_keras_computes_what_the_original_computes(case: dict[str, Any]) -> None:
    model = open_model(golden_data.ROOT / TOPIC / case["file"])
    cov, bbox = KerasEngine.from_model(model).predict(golden_data.array(TOPIC, case, "x").transpose(0, 2, 3, 1))
    for found, layer in ((cov, "output_cov"), (bbox, "output_bbox")):
        expected = golden_data.array(TOPIC, case, f"out_{layer}")
        # Quantized: single codes may flip at rounding ties.
        least = one_code(model.graph, model.ranges, layer)
        tolerance = max((2e-2 if case["qat"] else 1e-4) * np.abs(expected).max(), least)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_keras_quantizes_a_model_of_tao_as_tao_does(tmp_path: Path) -> None:
    """Kernels per tensor, codes to -128."""
    path = write_keras_file(tmp_path / "m.hdf5", tiny_weights(quantized=True), tiny_description(quantized=True))
    model = open_model(path)
    images = np.random.default_rng(0).random((2, 16, 24, 3), np.float32)
    _, bbox = KerasEngine.from_model(model).predict(images)
    expected = evaluate(model.graph, images, model.ranges, model.plan.weights if model.plan else (), tao=True)
    expected_bbox = expected["output_bbox"].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(bbox, expected_bbox, rtol=0, atol=1e-5 * np.abs(expected_bbox).max())


@dataclass
class Journey:
    """What the commands make of one model of TAO."""

    case: dict[str, Any]
    workspace: Workspace
    folder: Path

    @property
    def source(self) -> Path:
        return golden_data.ROOT / TOPIC / self.case["file"]

    @cached_property
    def original(self) -> Model:
        return open_model(self.source, labels=Labels(CLASSES))

    @cached_property
    def pruned(self) -> Path:
        path = self.folder / "pruned.tlt"
        succeed("prune", "-m", self.source, "-o", path, "-pth", 0.9, "-pg", 2, "-nf", 2)
        return path

    @cached_property
    def spec(self) -> Path:
        """One step of quantization-aware training that starts from the pruned model."""
        height, width, _ = self.original.graph.input.shape
        text = replaced(
            self.workspace.spec("qat").read_text(),
            (str(self.workspace.root / "retrain" / "weights" / "model.tlt"), str(self.pruned)),
            (f"output_image_width: {WIDTH}", f"output_image_width: {width}"),
            (f"output_image_height: {HEIGHT}", f"output_image_height: {height}"),
            (f"num_epochs: {QAT_EPOCHS}", "num_epochs: 1"),
            ("batch_size_per_gpu: 4", f"batch_size_per_gpu: {TRAINING}"),
        )
        path = self.folder / "spec.txt"
        path.write_text(text)
        return path

    @cached_property
    def retrained(self) -> Path:
        succeed("train", "-e", self.spec, "-r", self.folder / "results")
        return self.folder / "results" / "weights" / "model.tlt"

    @cached_property
    def exported(self) -> tuple[Path, Path]:
        """The ONNX and the calibration cache; `.qdq.onnx` lies beside them."""
        path, cache = self.folder / "model.onnx", self.folder / "cal.bin"
        images = ("-e", self.spec, "--batches", 1, "--batch_size", 4)
        succeed("export", "-m", self.retrained, "-o", path, "--data_type", "int8", "--cal_cache_file", cache, *images)
        return path, cache

    def evaluated(self, model: Path, *flags: object) -> dict[str, Any]:
        path = self.folder / "evaluation.json"
        succeed("evaluate", "-e", self.spec, "-m", model, "--json", path, *flags)
        return json.loads(path.read_text())


@pytest.fixture(scope="module", params=golden_data.params(TOPIC, _cases()))
def journey(
    request: pytest.FixtureRequest, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Journey]:
    if len(request.param["classes"]) != len(CLASSES):
        pytest.skip(f"the data of these tests have {len(CLASSES)} classes")
    yield Journey(request.param, workspace, tmp_path_factory.mktemp("tao"))


def test_it_is_pruned(journey: Journey) -> None:
    pruned = open_model(journey.pruned)
    assert pruned.pruned
    assert pruned.graph.params < journey.original.graph.params
    assert (pruned.plan, pruned.ranges) == (journey.original.plan, journey.original.ranges)


def test_it_is_trained_on_with_quantization(journey: Journey) -> None:
    pruned, model = open_model(journey.pruned), open_model(journey.retrained)
    assert model.labels.classes == CLASSES
    assert [node.name for node in model.graph.nodes] == [node.name for node in pruned.graph.nodes]
    kernels = [name for name in pruned.graph.weights if name.endswith("kernel")]
    moved = [name for name in kernels if not np.array_equal(model.graph.weights[name], pruned.graph.weights[name])]
    assert len(moved) > len(kernels) / 2
    assert model.plan is not None
    # A model that TAO trained for quantization keeps its places.
    assert model.plan == pruned.plan or pruned.plan is None
    assert set(model.ranges) == set(model.plan.activations)


def test_it_is_exported_and_evaluated(journey: Journey) -> None:
    onnx, cache = journey.exported
    results = [
        journey.evaluated(journey.source),
        journey.evaluated(journey.retrained),
        journey.evaluated(onnx),
        journey.evaluated(onnx, "--cal_cache_file", cache),
        journey.evaluated(onnx.with_suffix(".qdq.onnx")),
    ]
    start = "int8-qat" if journey.case["qat"] else "fp32"
    assert [result["precision"] for result in results] == [start, "int8-qat", "fp32", "int8-qat", "int8-qat"]
    assert [result["engine"] for result in results] == [*["keras"] * 2, *["onnxruntime"] * 3]
    assert {result["frames"] for result in results} == {VALIDATION}
    assert {tuple(entry["name"] for entry in result["classes"]) for result in results} == {CLASSES}


def test_the_file_itself_is_exported(journey: Journey) -> None:
    """Without a spec, so that the ONNX names no classes; what it computes is what the original computed.

    That of a QAT model has kernels quantized per output channel, as TensorRT quantizes those that TAO exports: finer
    than TAO trained it.
    """
    path, qat = journey.folder / "direct.onnx", journey.case["qat"]
    succeed("export", "-m", journey.source, "-o", path, *(("--data_type", "int8") if qat else ()))
    deployed = path.with_suffix(".qdq.onnx") if qat else path
    engine, model = open_onnx(deployed), open_model(journey.source)
    images = golden_data.array(TOPIC, journey.case, "x").transpose(0, 2, 3, 1)
    for found, layer in zip(engine.predict(images), ("output_cov", "output_bbox")):
        expected = golden_data.array(TOPIC, journey.case, f"out_{layer}")
        tolerance = max((5e-2 if qat else 1e-4) * np.abs(expected).max(), one_code(model.graph, model.ranges, layer))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert journey.evaluated(deployed)["frames"] == VALIDATION


def test_it_detects_objects_as_it_is(journey: Journey, tmp_path: Path) -> None:
    """The spec of the inference names its classes."""
    height, width, _ = journey.original.graph.input.shape
    spec = tmp_path / "infer.txt"
    text = journey.workspace.spec("infer").read_text()
    sizes = (f"image_width: {WIDTH}", f"image_width: {width}"), (f"image_height: {HEIGHT}", f"image_height: {height}")
    spec.write_text(replaced(text, *sizes))
    images = journey.workspace.data / "val" / "images"
    succeed("inference", "-e", spec, "-i", images, "-r", tmp_path, "-m", journey.source)
    found = json.loads((tmp_path / "detections.json").read_text())
    assert found["classes"] == list(CLASSES)
    assert len(found["images"]) == VALIDATION
