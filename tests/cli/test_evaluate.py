"""What `qatkit evaluate` tells of an INT8 network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from qatkit.quantization.placement import place
from tests.support.commands import Outcome, succeed
from tests.support.datasets import experiment, write_frames
from tests.support.networks import Net

SUMMARY = "2 of 4 convolutions in INT8, 2 of them by integer operations; 3 INT8 tensors"
HEADS = ("output_bbox/BiasAdd:0", "output_cov/BiasAdd:0", "output_cov/Sigmoid:0")
REASON = "its output has no scale"
INNER = ["stem_bn/batchnorm/add_1:0", "a_bn/batchnorm/add_1:0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A QAT model of two layers and its INT8 exports: with QAT's scales only, and by calibration."""
    root = tmp_path_factory.mktemp("int8")
    for fold, name in enumerate("vt"):
        write_frames(root, fold, {name: [("car", (10.0, 10.0, 60.0, 60.0))]})
    spec = experiment(root)
    net = Net(48, 64)
    net.heads(net.conv_bn_relu("a", net.conv_bn_relu("stem", net.input, 4, stride=8), 4, stride=2), 1)
    graph = net.graph()
    plan = place(graph, "tensorrt")
    save_model(
        root / "qat.tlt", Model(graph, Labels(("car",)), ranges=dict.fromkeys(plan.activations, 2.0), plan=plan)
    )
    export = ("export", "-m", root / "qat.tlt", "--data_type", "int8", "-o", root / "model.onnx")
    succeed(*export, "--cal_cache_file", root / "qat.bin")
    succeed(*export, "--cal_cache_file", root / "all.bin", "--force_ptq", "-e", spec)
    return root


def evaluate(folder: Path, model: str, *flags: object) -> tuple[Outcome, dict[str, Any]]:
    """The outcome, and what was written with --json."""
    report = folder / "report.json"
    outcome = succeed("evaluate", "-e", folder / "spec.txt", "-m", folder / model, "--json", report, *flags)
    return outcome, json.loads(report.read_text())


def after_map(outcome: Outcome) -> list[str]:
    """The lines that follow the mean average precision."""
    lines = outcome.out.splitlines()
    return lines[next(number for number, line in enumerate(lines) if line.startswith("Mean average")) + 1 :]


def test_a_cache_of_qat_leaves_the_heads_in_float(folder: Path) -> None:
    outcome, result = evaluate(folder, "model.onnx", "--cal_cache_file", folder / "qat.bin")
    assert after_map(outcome) == [
        SUMMARY,
        f"2 convolutions compute or write float: {HEADS[0]} ({REASON}), {HEADS[1]} ({REASON})",
        f"3 tensors without a scale fall back to float: {', '.join(HEADS)}",
        f"2 tensors without a scale inside fused INT8 kernels, where none is needed: {', '.join(INNER)}",
    ]
    assert result["int8"] == {
        "convs": 4,
        "quantized": 2,
        "integer": 2,
        "tensors": 3,
        "floating": dict.fromkeys(HEADS[:2], REASON),
        "operations": {"QLinearConv": 2},
        "missing_scales": list(HEADS),
        "fused": INNER,
    }


def test_verbose_gives_every_tensor_a_line(folder: Path) -> None:
    outcome, _ = evaluate(folder, "model.onnx", "--cal_cache_file", folder / "qat.bin", "-v")
    lines = after_map(outcome)
    assert lines[4:8] == ["3 tensors without a scale fall back to float:", *(f"  {name}" for name in HEADS)]


def test_a_complete_cache(folder: Path) -> None:
    outcome, result = evaluate(folder, "model.onnx", "--cal_cache_file", folder / "all.bin")
    floating = ", ".join(f"{name} (INT8 kernel, float result)" for name in HEADS[:2])
    assert after_map(outcome) == [
        SUMMARY,
        f"2 convolutions compute or write float: {floating}",
        "every tensor has a scale in the cache",
    ]
    assert (result["int8"]["missing_scales"], result["int8"]["fused"]) == ([], [])


def test_a_qdq_file_needs_no_scales_elsewhere(folder: Path) -> None:
    outcome, result = evaluate(folder, "model.qdq.onnx")
    lines = after_map(outcome)
    assert lines[0] == SUMMARY and len(lines) == 2
    assert result["int8"]["quantized"] == 2


@pytest.mark.parametrize("model", ["model.onnx", "qat.tlt"])
def test_other_engines_have_no_such_report(folder: Path, model: str) -> None:
    outcome, result = evaluate(folder, model)
    assert after_map(outcome) == []
    assert "int8" not in result
