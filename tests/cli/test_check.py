from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Outcome, qatkit, succeed
from tests.support.datasets import experiment, write_frames
from tests.support.specs import EXPERIMENT, INFERENCE, KITTI, RASTERIZER

CAR = ("car", (10.0, 10.0, 60.0, 60.0))

# Specs as their authors published them, each with the flag of its kind.
SHARED = Path(os.environ.get("QATKIT_SHARED") or Path(__file__).parents[2].parent / "shared")
PUBLISHED = sorted((SHARED / "corpus" / "specs" / "dev").glob("*.txt"))
FLAGS = {"cost_function_config": "-e", "inferencer_config": "-i", "kitti_config": "-d", "coco_config": "-d"}


def rows(outcome: Outcome) -> list[list[str]]:
    """The cells of the tables in an output."""
    lines = [line for line in outcome.out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a spec and its data."""
    write_frames(tmp_path, 0, {"a": [CAR]})
    write_frames(tmp_path, 1, {"b": [CAR, ("car", (0.0, 0.0, 20.0, 20.0))], "c": [CAR, CAR, CAR]})
    experiment(tmp_path, ('arch: "resnet"', 'arch: "resnet" dropout_rate: 0.5'))
    return tmp_path


def test_nothing_to_check() -> None:
    outcome = qatkit("check")
    assert (outcome.code, outcome.err) == (2, "error: nothing to check (-e, -d or -i with a spec file)\n")


def test_a_spec_with_its_data(data: Path) -> None:
    outcome = succeed("check", "-e", data / "spec.txt")
    assert f"# {data}/spec.txt: effective values" in outcome.out and "checkpoint_interval: 10" in outcome.out
    assert "training data: 2 images" in outcome.out and "validation data: 1 images" in outcome.out
    assert rows(outcome) == [
        ["car", "5", "25x25", "20.0 %", "0.0 %", "0.0 %", "0.0 %"],
        ["car", "1", "25x25", "0.0 %", "0.0 %", "0.0 %", "0.0 %"],
    ]
    assert outcome.err == f"warning: {data}/spec.txt: read but not used: model_config.dropout_rate\n"
    assert outcome.out.endswith("valid: 0 errors, 1 warning\n")


def test_errors_of_a_spec(data: Path) -> None:
    spec = data / "spec.txt"
    spec.write_text(spec.read_text().replace("num_epochs: 4", "").replace("cov_radius_x: 0.4", "cov_radius_x: 4"))
    outcome = qatkit("check", "-e", spec)
    assert outcome.code == 2 and "training data" not in outcome.out
    assert [line for line in outcome.err.splitlines() if line.startswith("error")] == [
        f"error: {spec}: training_config.num_epochs must be > 0, found 0",
        f"error: {spec}: {RASTERIZER}.cov_radius_x must be > 0 and <= 1, found 4",
        "error: not valid: 2 errors, 1 warning",
    ]


def test_errors_of_data(data: Path) -> None:
    (data / "images" / "b.png").unlink()
    outcome = qatkit("check", "-e", data / "spec.txt")
    assert outcome.code == 3
    assert "training data: 2 images, 1 missing" in outcome.out
    assert (
        f"error: training data: {data}/images/b.png: no such image (1 of 2 are missing) (an image is " in outcome.err
    )


def test_three_specs(data: Path) -> None:
    (data / "convert.txt").write_text(KITTI)
    (data / "infer.txt").write_text(INFERENCE)
    outcome = succeed("check", "-e", data / "spec.txt", "-d", data / "convert.txt", "-i", data / "infer.txt")
    assert outcome.out.count("effective values") == 3
    assert "not on this machine: labels: no folder data" in outcome.out


def test_json_to_a_file(data: Path) -> None:
    outcome = succeed("check", "-e", data / "spec.txt", "--json", data / "check.json")
    assert "effective values" in outcome.out
    assert json.loads((data / "check.json").read_text())["valid"] is True


def test_json_to_a_file_in_spite_of_errors(data: Path) -> None:
    (data / "images" / "b.png").unlink()
    assert qatkit("check", "-e", data / "spec.txt", "--json", data / "check.json").code == 3
    assert json.loads((data / "check.json").read_text())["valid"] is False


def test_json_to_standard_output(data: Path) -> None:
    for arguments in (["--json", "-e", data / "spec.txt"], ["-e", data / "spec.txt", "--json"]):
        values = json.loads(succeed("check", *arguments).out)
        assert values["specs"]["experiment"]["effective"]["training_config"]["num_epochs"] == 4


def test_needs_no_tensorflow(data: Path) -> None:
    code = f"""
import sys
from qatkit.cli import main
try:
    main(["check", "-e", "{data}/spec.txt", "-d", "{data}/convert.txt", "-i", "{data}/infer.txt"])
except SystemExit as left:
    print("left with", left.code, {{"tensorflow", "tf_keras", "onnx"}} & set(sys.modules))
"""
    (data / "convert.txt").write_text(KITTI)
    (data / "infer.txt").write_text(INFERENCE)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "training data: 2 images" in found.stdout
    assert found.stdout.endswith("left with 0 set()\n"), found.stderr


@pytest.mark.parametrize(
    "path",
    PUBLISHED or [pytest.param(None, marks=pytest.mark.skip(reason=f"no published specs in {SHARED}"))],
    ids=lambda path: path.stem if path else "none",
)
def test_published_specs_are_valid(path: Path) -> None:
    text = path.read_text()
    flag = next(FLAGS[block] for block in FLAGS if block in text)
    assert "valid: 0 errors" in succeed("check", flag, path).out


def test_the_effective_values_are_a_spec(tmp_path: Path) -> None:
    (tmp_path / "spec.txt").write_text(EXPERIMENT)
    out = succeed("check", "-e", tmp_path / "spec.txt").out
    values = out[: out.index("not on this machine")]
    (tmp_path / "again.txt").write_text(values)
    again = succeed("check", "-e", tmp_path / "again.txt").out
    assert again.replace("again.txt", "spec.txt").startswith(values)
