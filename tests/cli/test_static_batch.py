"""`qatkit export` with a fixed batch, and the commands that read such files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from qatkit.quantization.placement import place
from tests.support.commands import qatkit, replaced, succeed
from tests.support.datasets import experiment, write_frames
from tests.support.models import float_model
from tests.support.networks import Net
from tests.support.specs import INFERENCE

FORMS = {
    "float": ("model.onnx",),
    "cache": ("model.onnx", "--cal_cache_file", "cal.bin"),
    "qdq": ("model.qdq.onnx",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec with five images for validation, and a model exported for any batch, for 4 images and for 3 of them."""
    root = tmp_path_factory.mktemp("batch")
    box = (10.0, 10.0, 60.0, 60.0)
    write_frames(root, 0, {f"v{number}": [("car", box)] for number in range(5)})
    write_frames(root, 1, {"t": [("car", box)]})
    experiment(root)
    net = Net(48, 64)
    net.heads(net.conv_bn_relu("a", net.conv_bn_relu("stem", net.input, 4, stride=8), 4, stride=2), 1)
    graph = net.graph()
    wide = {"output_bbox/bias": np.full(4, 0.5, np.float32), "output_cov/bias": np.full(1, 3.0, np.float32)}
    assert wide.keys() <= graph.weights.keys()
    graph = replace(graph, weights={**graph.weights, **wide})  # every cell finds something
    plan = place(graph, "tensorrt")
    ranges = dict.fromkeys(plan.activations, 2.0)
    save_model(root / "qat.tlt", Model(graph, Labels(("car",)), ranges=ranges, plan=plan))
    for name, flags in {
        "any": ("--static_batch_size", -1),
        "four": ("--static_batch_size=4", "--max_batch_size", 4, "--gen_ds_config"),
        "three": ("--batch_size", 3, "--static_batch"),
    }.items():
        outcome = succeed(
            *("export", "-m", root / "qat.tlt", "--data_type", "int8", "-o", root / name / "model.onnx"), *flags
        )
        told = "images at once" in outcome.out
        assert told == (name != "any")
        assert "float ONNX against Keras: largest difference" in outcome.out
        assert "no effect" not in outcome.err
    return root


def evaluated(folder: Path, name: str, form: str, *flags: object) -> dict[str, object]:
    model, *cache = FORMS[form]
    where = [folder / name / part if part.endswith(".bin") else part for part in cache]
    succeed(
        *("evaluate", "-e", folder / "spec.txt", "-m", folder / name / model, "--json", folder / "result.json"),
        *where,
        *flags,
    )
    found: dict[str, object] = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in found.items() if key not in ("model", "seconds_per_image", "fps")}


@pytest.mark.parametrize("name, size", [("four", 4), ("three", 3)])
def test_the_batch_is_in_both_files(folder: Path, name: str, size: int) -> None:
    for file in ("model.onnx", "model.qdq.onnx"):
        graph = onnx.load(folder / name / file).graph
        for value in (*graph.input, *graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_value == size


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("form", FORMS)
def test_evaluate_finds_the_same_at_any_batch_size(folder: Path, form: str, batch: int) -> None:
    expected = evaluated(folder, "any", form)
    for name in ("four", "three"):
        assert evaluated(folder, name, form, "-b", batch) == expected


def test_inference_finds_the_same(folder: Path) -> None:
    every_cell = "dbscan_eps: 0.3 coverage_threshold: 1e-6 minimum_bounding_box_height: 1"
    (folder / "infer.txt").write_text(replaced(INFERENCE, ("dbscan_eps: 0.3", every_cell)))
    results = []
    for name in ("any", "four"):
        succeed(
            *("inference", "-e", folder / "infer.txt", "-i", folder / "images", "-r", folder / name / "found"),
            *("-m", folder / name / "model.onnx"),
        )
        results.append(json.loads((folder / name / "found" / "detections.json").read_text()))
    assert results[0] == results[1]
    assert len(results[0]["images"]) == 6 and all(results[0]["images"].values())


def test_the_configuration_of_deepstream_has_the_batch(folder: Path) -> None:
    lines = (folder / "four" / "nvinfer_config.txt").read_text().splitlines()
    assert {"batch-size=4", "model-engine-file=model.onnx_b4_gpu0_int8.engine", "infer-dims=3;48;64"} <= set(lines)


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--static_batch_size", "0"), "--static_batch_size 0: expected at least 1, or -1 for any number"),
        (("--static_batch_size", "-2"), "--static_batch_size -2: expected at least 1"),
        (("--static_batch_size", "4", "--static_batch"), "--static_batch fixes the 16 images of --batch_size"),
        (("--static_batch_size", "-1", "--static_batch"), "--static_batch_size says -1 (give one of them)"),
        (("--static_batch_size", "4", "--max_batch_size", "8"), "--max_batch_size 8: the ONNX is to take exactly 4"),
        (("--static_batch_size", "4", "--min_batch_size", "1"), "--min_batch_size 1: the ONNX is to take exactly 4"),
        (("--batch_size", "2", "--static_batch", "--opt_batch_size", "4"), "--opt_batch_size 4: the ONNX is to take"),
    ],
)
def test_flags_that_contradict_each_other(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    save_model(tmp_path / "float.tlt", float_model())
    outcome = qatkit("export", "-m", tmp_path / "float.tlt", "-o", tmp_path / "model.onnx", *flags)
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "model.onnx").exists()


def test_the_same_said_twice_is_no_contradiction(tmp_path: Path) -> None:
    save_model(tmp_path / "float.tlt", float_model())
    flags = ("--batch_size", 2, "--static_batch", "--static_batch_size", 2, "--opt_batch_size", 2)
    succeed("export", "-m", tmp_path / "float.tlt", "-o", tmp_path / "model.onnx", *flags)
