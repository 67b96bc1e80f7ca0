"""What `qatkit evaluate` tells of an INT8 network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.model.file import Model, save_model
from qatkit.quantization.placement import place
from tests.support.commands import Outcome, qatkit, succeed
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


@pytest.mark.parametrize(
    "bits, message",
    [
        ("0", "all 8 scales are 0: an empty calibration; line 2: scale 0 of input_1:0"),
        ("1", "all 8 scales are denormal; line 2: scale 1.4e-45 of input_1:0"),
        ("7f800000", "all 8 scales are infinite; line 2: scale inf of input_1:0"),
        ("31a60d5b", "all 8 scales are vanishingly small; line 2: scale 4.83e-09 of input_1:0"),
        ("7fc00000", "line 2: scale nan (7fc00000) of input_1:0 is no number"),
        ("bc010204", "line 2: scale -0.00787402 (bc010204) of input_1:0 is negative"),
    ],
)
def test_a_cache_whose_scales_make_no_sense(folder: Path, tmp_path: Path, bits: str, message: str) -> None:
    bad = with_bits(folder / "all.bin", tmp_path / "bad.bin", bits)
    outcome = qatkit("evaluate", "-e", folder / "spec.txt", "-m", folder / "model.onnx", "--cal_cache_file", bad)
    lines = outcome.err.splitlines()
    assert (outcome.code, len(lines)) == (4, 1), outcome.err
    assert lines[0].startswith(f"error: {bad}: {message}")


@pytest.mark.parametrize("bits, kind", [("0", "0"), ("1", "denormal"), ("7f800000", "infinite")])
def test_a_line_that_gives_no_scale(folder: Path, tmp_path: Path, bits: str, kind: str) -> None:
    """A tensor with it runs as one that the cache does not name."""
    odd = with_bits(folder / "all.bin", tmp_path / "odd.bin", bits, only="a_relu/Relu:0")
    outcome, result = evaluate(folder, "model.onnx", "--cal_cache_file", odd)
    (warning,) = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
    assert f"{odd}: 1 of 8 scales is {kind}; line " in warning
    assert "a_relu/Relu:0" in result["int8"]["missing_scales"]


def test_a_vanishing_scale_is_used_and_told(folder: Path, tmp_path: Path) -> None:
    odd = with_bits(folder / "all.bin", tmp_path / "odd.bin", "31a60d5b", only="a_relu/Relu:0")
    outcome, result = evaluate(folder, "model.onnx", "--cal_cache_file", odd)
    assert "1 of 8 scales is vanishingly small; line " in outcome.err
    assert result["int8"]["missing_scales"] == []


def with_bits(cache: Path, path: Path, bits: str, only: str = "") -> Path:
    """A copy of `cache` with the scale of every tensor, or of the tensor `only`, replaced."""
    header, *lines = cache.read_text().splitlines()
    names = [line.rpartition(": ")[0] for line in lines]
    assert not only or only in names
    edited = [f"{name}: {bits}" if only in ("", name) else line for name, line in zip(names, lines)]
    path.write_text("\n".join([header, *edited]) + "\n")
    return path
