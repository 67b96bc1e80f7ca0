"""The whole workflow on a few images: what every command writes, and that the commands agree with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qatkit.errors import ModelError
from qatkit.model.open import open_model
from qatkit.spec import load_experiment, to_text
from tests.support.commands import Outcome, qatkit, replaced, succeed
from tests.support.workspace import (
    CLASSES,
    EPOCHS,
    HEIGHT,
    KEY,
    QAT_EPOCHS,
    TRAINING,
    VALIDATION,
    WIDTH,
    Trained,
    Workspace,
)


def cells(outcome: Outcome) -> list[list[str]]:
    """The rows of the tables in an output."""
    lines = [line for line in outcome.out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_conversion(workspace: Workspace) -> None:
    for outcome, images in zip(workspace.outcomes, (TRAINING, VALIDATION)):
        assert f"{images} images in 1 files" in outcome.out
        assert ["Bag", "bag"] in cells(outcome) and ["person", "person"] in cells(outcome)


def test_training(trained: Trained) -> None:
    assert files(trained.results) == {
        *(".lock", "experiment_spec.txt", "status.json", "training_curve.png"),
        *("weights/model.tlt", "weights/model.best.tlt", "weights/model.best.json"),
        *(f"model.epoch-{epoch}.ckpt" for epoch in range(1, EPOCHS + 1)),
    }
    assert load_experiment(trained.results / "experiment_spec.txt") == load_experiment(trained.spec)
    assert f"Epoch {EPOCHS}/{EPOCHS}: loss" in trained.outcome.out
    assert f"Model written to {trained.model}" in trained.outcome.out


def test_status_of_a_training(trained: Trained) -> None:
    events = trained.events
    assert [event["status"] for event in events] == ["STARTED", *["RUNNING"] * (2 * EPOCHS), "SUCCESS"]
    graph = open_model(trained.model, KEY).graph
    assert events[-1]["kpi"]["param_count"] == graph.params / 1e6
    assert events[-1]["kpi"]["size"] == trained.model.stat().st_size / 2**20


def test_the_trained_model(trained: Trained) -> None:
    model = open_model(trained.model, KEY)
    assert model.labels.classes == CLASSES
    assert (model.graph.input.shape, model.graph.name) == ((HEIGHT, WIDTH, 3), "resnet10_nopool_bn_detectnet_v2")
    assert (model.labels.box_scale, model.labels.box_offset, model.pruned, model.plan) == (35.0, 0.5, False, None)
    assert model.spec_text == to_text(load_experiment(trained.spec))
    with pytest.raises(ModelError, match="encrypted"):
        open_model(trained.model)


def evaluate(spec: Path, model: Path, *flags: object) -> tuple[Outcome, dict[str, Any]]:
    """The outcome of evaluate and what it wrote with --json."""
    file = model.parent / "result.json"
    outcome = succeed("evaluate", "-e", spec, "-m", model, "-k", KEY, "--json", file, *flags)
    return outcome, json.loads(file.read_text())


def test_evaluation_gives_what_the_last_validation_gave(trained: Trained) -> None:
    _, result = evaluate(trained.spec, trained.model)
    last = [event for event in trained.events if "categorical" in event][-1]
    assert result["map"] == pytest.approx(last["kpi"]["mean average precision"], abs=1e-3)
    assert {item["name"]: item["ap"] for item in result["classes"]} == pytest.approx(
        last["categorical"]["average_precision"], abs=1e-3
    )


def test_what_evaluation_shows_and_writes(trained: Trained, tmp_path: Path) -> None:
    outcome, result = evaluate(trained.spec, trained.model, "-r", tmp_path)
    assert (result["engine"], result["precision"], result["frames"]) == ("keras", "fp32", VALIDATION)
    assert result["model"] == str(trained.model)
    for item, row in zip(result["classes"], cells(outcome), strict=True):
        assert row[:4] == [item["name"], f"{item['ap']:.2f}", str(item["ground_truths"]), str(item["detections"])]
    assert [item["name"] for item in result["classes"]] == list(CLASSES)
    assert all(item["ground_truths"] > 0 for item in result["classes"])
    assert f"Mean average precision (in %): {result['map']:.4f}" in outcome.out
    events = [json.loads(line) for line in (tmp_path / "status.json").read_text().splitlines()]
    assert [event["status"] for event in events] == ["STARTED", "SUCCESS"]
    assert events[1]["kpi"] == {"mean average precision": round(result["map"], 4)}


def test_evaluation_on_the_training_data(trained: Trained) -> None:
    assert evaluate(trained.spec, trained.model, "--use_training_set", "-b", 3)[1]["frames"] == TRAINING


def test_the_quality_gate(trained: Trained, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    flags = ("evaluate", "-e", trained.spec, "-m", trained.model, "-k", KEY, "--json", file)
    failed = qatkit(*flags, "--min_map", "99.5")
    assert failed.code == 7
    assert (
        failed.err.splitlines()[-1]
        == f"error: mAP is {json.loads(file.read_text())['map']:.2f}, below --min_map 99.5"
    )
    assert qatkit(*flags, "--min_map", "0").code == 0


def test_pruning(trained: Trained, pruned: Path) -> None:
    before, after = open_model(trained.model, KEY), open_model(pruned, KEY)
    assert after.pruned
    assert after.graph.params <= 0.2 * before.graph.params


def test_a_training_with_a_teacher_is_another_training(small: Path, tmp_path: Path) -> None:
    start = small.parents[1] / "small.tlt"
    alone = succeed("train", "-e", small, "-r", tmp_path / "alone")
    taught = succeed("train", "-e", small, "-r", tmp_path / "taught", "--teacher", start, "--teacher_weight", 0.8)
    assert f"Learning from {start} too: 80% of the cost." in taught.out and "Learning" not in alone.out
    models = [open_model(tmp_path / name / "weights" / "model.tlt") for name in ("alone", "taught")]
    kernels = [model.graph.weight("stem", "kernel") for model in models]
    assert not np.array_equal(*kernels)
    again = qatkit("train", "-e", small, "-r", tmp_path / "taught", "--teacher", start)
    assert again.code == 2 and "holds a training with another spec" in again.err


def test_quantization_aware_training(qat: Trained, pruned: Path) -> None:
    model, start = open_model(qat.model, KEY), open_model(pruned, KEY)
    assert model.is_qat and model.pruned
    assert model.graph.nodes == start.graph.nodes
    assert model.plan is not None and set(model.ranges) == set(model.plan.activations)
    assert all(amax > 0 for amax in model.ranges.values())
    changed = [name for name, array in start.graph.weights.items() if (array != model.graph.weights[name]).any()]
    assert set(changed) == set(start.graph.weights)
    assert "with quantization-aware training" in qat.outcome.out
    assert f"model.epoch-{QAT_EPOCHS}.ckpt" in files(qat.results)


def test_evaluation_of_a_qat_model_is_that_of_int8(qat: Trained) -> None:
    assert evaluate(qat.spec, qat.model)[1]["precision"] == "int8-qat"


@pytest.fixture(scope="module")
def exported(qat: Trained) -> Path:
    """The folder of what export makes of the QAT model."""
    folder = qat.results / "export"
    succeed(
        *("export", "-m", qat.model, "-k", KEY, "-o", folder / "model.onnx", "-e", qat.spec),
        *("--data_type", "int8", "--cal_cache_file", folder / "cal.bin", "--gen_ds_config"),
    )
    return folder


def test_export(exported: Path) -> None:
    assert {"model.onnx", "model.qdq.onnx", "cal.bin", "labels.txt", "nvinfer_config.txt"} <= files(exported)
    assert (exported / "labels.txt").read_text().splitlines() == list(CLASSES)
    first, *lines = (exported / "cal.bin").read_text().splitlines()
    assert first == "TRT-100300-EntropyCalibration2"
    assert any(line.startswith("input_1:0: ") for line in lines)


@pytest.mark.parametrize(
    "name, flags, precision",
    [
        ("model.onnx", (), "fp32"),
        ("model.onnx", ("--cal_cache_file", "cal.bin"), "int8"),
        ("model.qdq.onnx", (), "int8"),
    ],
)
def test_evaluation_of_exported_files(
    qat: Trained, exported: Path, name: str, flags: tuple[str, ...], precision: str
) -> None:
    paths = [exported / flag if flag.endswith(".bin") else flag for flag in flags]
    _, result = evaluate(qat.spec, exported / name, *paths)
    assert result["engine"] == "onnxruntime"
    assert result["precision"].startswith(precision)
    assert result["frames"] == VALIDATION


def infer(workspace: Workspace, model: Path, results: Path, *flags: object) -> dict[str, list[dict[str, Any]]]:
    """Image name -> its detections, of all that the network gives the least coverage."""
    spec = results.parent / "infer.txt"
    low = ("coverage_threshold: 0.3", "coverage_threshold: 0.005")
    spec.write_text(replaced(workspace.spec("infer").read_text(), low, ("_threshold: 0.3", "_threshold: 0.005")))
    images = workspace.data / "val" / "images"
    succeed("inference", "-e", spec, "-i", images, "-r", results, "-m", model, "-k", KEY, *flags)
    found: dict[str, list[dict[str, Any]]] = json.loads((results / "detections.json").read_text())["images"]
    return found


def test_inference(workspace: Workspace, trained: Trained, tmp_path: Path) -> None:
    found = infer(workspace, trained.model, tmp_path / "out")
    images = sorted((workspace.data / "val" / "images").iterdir())
    assert sorted(found) == [path.name for path in images]
    for path in images:
        with Image.open(tmp_path / "out" / "images_annotated" / path.name) as picture:
            assert picture.size == (WIDTH, HEIGHT)
        lines = (tmp_path / "out" / "labels" / f"{path.stem}.txt").read_text().splitlines()
        assert [(line.split()[0], line.split()[-1]) for line in lines] == [
            (item["name"], f"{item['confidence']:.3f}") for item in found[path.name]
        ]
        assert all(len(line.split()) == 16 for line in lines)
    assert sum(map(len, found.values())) > 0


def test_inference_on_one_image(workspace: Workspace, trained: Trained, tmp_path: Path) -> None:
    image = workspace.data / "val" / "images" / "000003.jpg"
    outcome = succeed(
        *("inference", "-e", workspace.spec("infer"), "-i", image, "-r", tmp_path, "-m", trained.model, "-k", KEY)
    )
    assert files(tmp_path) == {
        *("detections.json", "images_annotated/000003.jpg", "labels/000003.txt", "status.json")
    }
    assert outcome.out.splitlines()[-1].startswith("1 images (keras, fp32)")


def test_the_deployed_files_detect_what_the_trained_model_detects(
    workspace: Workspace, qat: Trained, exported: Path, tmp_path: Path
) -> None:
    expected = infer(workspace, qat.model, tmp_path / "keras")
    assert sum(map(len, expected.values())) > VALIDATION
    for name, flags in (("model.qdq.onnx", ()), ("model.onnx", ("--cal_cache_file", exported / "cal.bin"))):
        found = infer(workspace, exported / name, tmp_path / name, *flags)
        for image, items in expected.items():
            assert len(found[image]) == pytest.approx(len(items), abs=1)
            best = [max(item["confidence"] for item in side) for side in (items, found[image]) if side]
            assert np.ptp(best) < 0.02


def test_comparison(workspace: Workspace, trained: Trained, qat: Trained, tmp_path: Path) -> None:
    models = ("-m", f"float={trained.model}", "-m", qat.model)
    outcome = succeed("compare", "-e", qat.spec, "-k", KEY, "-o", tmp_path, *models)
    report = json.loads((tmp_path / "result.json").read_text())
    rows = [(row["name"], row["precision"]) for row in report["models"]]
    assert rows == [("float", "fp32"), ("float", "int8-ptq"), ("qat", "int8-qat")]
    assert [tuple(row[:2]) for row in cells(outcome)] == rows
    sizes = [row["size_bytes"] for row in report["models"]]
    assert sizes[0] > sizes[1] > sizes[2]
    assert report["dataset"]["images"] == VALIDATION


def test_a_pretrained_backbone_with_frozen_blocks(trained: Trained, tmp_path: Path) -> None:
    model_config = f"""model_config {{
  pretrained_model_file: "{trained.model}"
  freeze_blocks: 0
  freeze_blocks: 1
  freeze_bn: true
"""
    spec = tmp_path / "spec.txt"
    one_epoch = (f"num_epochs: {EPOCHS}", "num_epochs: 1")
    spec.write_text(replaced(trained.spec.read_text(), ("model_config {\n", model_config), one_epoch))
    outcome = succeed("train", "-e", spec, "-r", tmp_path / "results", "-k", KEY, "--use_amp")
    assert str(trained.model) in outcome.out  # what was taken over
    before = open_model(trained.model, KEY).graph.weights
    after = open_model(tmp_path / "results" / "weights" / "model.tlt", KEY).graph.weights
    same = {name for name, array in before.items() if np.array_equal(array, after[name])}
    statistics = {name for name in before if name.rpartition("/")[2] in ("mean", "variance")}
    frozen = {name for name in before if name.startswith(("conv1/", "block_1")) and "_bn_" not in name}
    assert same == statistics | frozen
    for name in before.keys() - same:  # trained on from there; the heads are new
        moved = np.abs(after[name] - before[name]).max()
        assert moved < 0.02 or name.startswith("output_"), name


def test_frozen_blocks_of_a_pruned_network_in_quantization_aware_training(
    qat: Trained, pruned: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.txt"
    frozen = "model_config {\n  freeze_blocks: [0, 2, 9]\n  freeze_bn: true\n"
    one_epoch = (f"num_epochs: {QAT_EPOCHS}", "num_epochs: 1")
    spec.write_text(replaced(qat.spec.read_text(), ("model_config {\n", frozen), one_epoch))
    outcome = succeed("train", "-e", spec, "-r", tmp_path / "results", "-k", KEY)
    assert "has no 9; its blocks are 0, 1, 2, 3, 4" in " ".join(outcome.err.split())
    before = open_model(pruned, KEY).graph.weights
    after = open_model(tmp_path / "results" / "weights" / "model.tlt", KEY).graph.weights
    same = {name for name, array in before.items() if np.array_equal(array, after[name])}
    statistics = {name for name in before if name.rpartition("/")[2] in ("mean", "variance")}
    assert same == statistics | {name for name in before if name.startswith(("conv1/", "block_2a_conv"))}


def test_a_finished_training_is_not_repeated(qat: Trained) -> None:
    before = open_model(qat.model, KEY)
    qat.model.unlink()
    outcome = succeed("train", "-e", qat.spec, "-r", qat.results, "-k", KEY)
    assert f"epoch {QAT_EPOCHS} of {QAT_EPOCHS}" in outcome.out and "Epoch" not in outcome.out
    after = open_model(qat.model, KEY)
    assert after.ranges == before.ranges
    assert all((array == after.graph.weights[name]).all() for name, array in before.graph.weights.items())
