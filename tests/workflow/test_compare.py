"""A whole comparison, of small untrained networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qatkit.detectnet.labels import Labels
from qatkit.errors import GateError, UsageError
from qatkit.model.file import Model, save_model
from qatkit.quantization.placement import place
from qatkit.report.result import ComparisonResult, MeasuredModel
from qatkit.spec import load_experiment
from qatkit.workflow.compare import compare
from tests.support.commands import replaced
from tests.support.datasets import experiment, write_frames
from tests.support.html_page import Page
from tests.support.networks import Net
from tests.support.reference import evaluate

CAR = [("car", (10.0, 10.0, 60.0, 50.0))]


def network() -> Net:
    net = Net(48, 64)
    stem = net.conv_bn_relu("stem", net.input, 4, stride=4)
    net.heads(net.add_relu("sum", net.conv_bn("b", stem, 4), stem), classes=1)
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare")
    for fold, names in enumerate(("ab", "cde")):
        write_frames(root, fold, dict.fromkeys(names, CAR))
    experiment(root)
    graph = network().graph()
    plan = place(graph)
    values = evaluate(graph, np.random.default_rng(0).random((2, 48, 64, 3), np.float32))
    ranges = {name: float(np.abs(values[name]).max()) for name in plan.activations}
    save_model(root / "float.tlt", Model(graph, Labels(("car",))))
    save_model(root / "qat.tlt", Model(graph, Labels(("car",)), ranges=ranges, plan=plan))
    return root


def run(folder: Path, output: Path, *names: str, **options: Any) -> ComparisonResult:
    models = [(name, folder / f"{name}.tlt") for name in names]
    return compare(load_experiment(folder / "spec.txt"), models, output, **options)


def test_comparison(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, tmp_path, "float", "qat", sensitivity_images=2)
    started, ended = map(json.loads, (tmp_path / "status.json").read_text().splitlines())
    assert (started["message"], ended["message"]) == ("compare started.", "compare finished.")
    report = json.loads((tmp_path / "result.json").read_text())
    maps = {f"{row['name']} {row['precision']}": round(row["map"], 4) for row in report["models"]}
    assert ended["kpi"] == {"mean average precision": maps}
    rows = [("float", "fp32"), ("float", "int8-ptq"), ("qat", "int8-qat")]
    assert [(row["name"], row["precision"]) for row in report["models"]] == rows
    assert set(report["models"][0]) == {
        *("name", "precision", "engine", "map", "ap", "fps", "size_bytes", "params", "macs"),
    }
    assert report["dataset"] == {"images": 2, "boxes": 2}
    for part in ("layers", "sensitivity"):
        assert [(entry["model"], entry["precision"]) for entry in report[part]] == rows[1:]
        assert [entry["images"] for entry in report[part]] == [2, 2]
    tensors = ["input_1", "stem_relu", "sum_relu", "output_bbox", "output_cov"]
    assert [tensor["layer"] for tensor in report["layers"][0]["tensors"]] == tensors
    assert {cost["layer"] for cost in report["sensitivity"][1]["layers"]} == {"stem", "b"}
    page = Page((tmp_path / "report.html").read_text())
    assert all(row["name"] in page.text and f"{row['map']:.2f}" in page.text for row in report["models"])
    assert f"written: {tmp_path / 'report.html'}" in capsys.readouterr().out.replace("\n", "")


def test_a_gate_that_closes_leaves_everything_to_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qatkit.workflow.compare._row", lambda candidate, result, speed: fallen(candidate.precision))
    result = run(folder, tmp_path, "float")
    result.check_drop(31.0)
    with pytest.raises(GateError, match=r"float \(int8-ptq\) is 30\.00 mAP below FP32"):
        result.check_drop(29.0)
    assert "sensitivity" not in json.loads((tmp_path / "result.json").read_text())
    assert "30.00 below" in Page((tmp_path / "report.html").read_text()).text


def fallen(precision: str) -> MeasuredModel:
    value = 80.0 if precision == "fp32" else 50.0
    return MeasuredModel("float", precision, "", value, {"car": value}, fps=1.0, size_bytes=1, params=1, macs=1)


def test_two_models_of_one_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two models have the same name"):
        run(folder, tmp_path, "float", "float")


@pytest.mark.parametrize(
    "pairs, message",
    [
        ([("output_image_width: 64", "output_image_width: 128")], "takes 64x48x3 images, the spec has 128x48x3"),
        ([('"car"', '"bus"'), ('key: "bus" value: "bus"', 'key: "car" value: "bus"')], "knows car; the spec has bus"),
    ],
)
def test_a_model_that_does_not_fit_the_spec_is_not_exported(
    folder: Path, tmp_path: Path, pairs: list[tuple[str, str]], message: str
) -> None:
    (folder / "other.txt").write_text(replaced((folder / "spec.txt").read_text(), *pairs))
    with pytest.raises(UsageError, match=f"float.tlt {message}"):
        compare(load_experiment(folder / "other.txt"), [("float", folder / "float.tlt")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_gate_needs_something_to_compare_with(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max_drop needs a float model"):
        run(folder, tmp_path, "qat").check_drop(1.0)
