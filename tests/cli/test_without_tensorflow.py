"""What the base installation can do: everything but training and running a .tlt, and that is said in one line.

TensorFlow is made impossible to import where it is installed; `tests/light.sh` runs this where it is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.graph.build import build
from qatkit.model.file import Model, save_model
from qatkit.spec import load_experiment
from tests.support.commands import ROOT, Outcome

# Runs the commands in the file that it is given, and prints how each ended.
PROGRAM = """
import contextlib, io, json, sys

TRAINING = ("tensorflow", "tf_keras", "keras", "tensorflow_model_optimization")

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in TRAINING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
from qatkit import cli

outcomes = {}
for name, arguments in json.load(open(sys.argv[1])).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli._run(arguments)
    outcomes[name] = code, out.getvalue(), err.getvalue()
print(json.dumps(outcomes))
"""
COMMANDS = {
    "dataset_convert": "dataset_convert -d specs/convert_train.txt -o tfrecords/train/part",
    "dataset_convert (validation)": "dataset_convert -d specs/convert_val.txt -o tfrecords/val/part",
    "check": "check -e specs/train.txt",
    "calibration_tensorfile": "calibration_tensorfile -e specs/train.txt -o cal.tensorfile",
    "prune": "prune -m model.tlt -o pruned.tlt -eq union --target_ratio 0.5",
    "export": "export -m pruned.tlt -o model.onnx -e specs/train.txt --data_type int8 --gen_ds_config",
    "evaluate float": "evaluate -e specs/train.txt -m model.onnx",
    "evaluate with a cache": "evaluate -e specs/train.txt -m model.onnx --cal_cache_file cal.bin",
    "evaluate Q/DQ": "evaluate -e specs/train.txt -m model.qdq.onnx --json qdq.json",
    "inference": "inference -e specs/infer.txt -i data/val/images -m model.qdq.onnx -r inference",
    "compare": "compare -e specs/train.txt -m float=model.tlt -o report",
}
TRAINING = {
    "train": "train -e specs/train.txt -r train",
    "evaluate a .tlt": "evaluate -e specs/train.txt -m model.tlt",
    "inference of a .tlt": "inference -e specs/infer.txt -i data/val/images -m model.tlt -r inference",
}
MISSING = (
    "not installed here: TensorFlow, tf-keras, tensorflow-model-optimization, which training and the running of a "
    ".tlt need (pip install 'qatkit[train]')"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with labels, the specs for them, and an untrained network."""
    root = tmp_path_factory.mktemp("light")
    for arguments in (
        "make_synthetic.py data --width 96 --height 64 --train 4 --val 4",
        "own_data/make_specs.py data . --layers 10 --classes person --batch_size 4",
    ):
        program, *flags = arguments.split()
        subprocess.run([sys.executable, str(ROOT / "examples" / program), *flags], check=True, cwd=root)
    graph = build(load_experiment(root / "specs" / "train.txt").model_config, (64, 96, 3), 1, seed=1)
    save_model(root / "model.tlt", Model(graph, Labels(("person",))))
    return root


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, Outcome]:
    """Of all commands, one after the other, in a process without TensorFlow."""
    commands = {name: line.split() for name, line in (COMMANDS | TRAINING).items()}
    (folder / "commands.json").write_text(json.dumps(commands))
    run = [sys.executable, "-c", PROGRAM, "commands.json"]
    found = subprocess.run(run, capture_output=True, text=True, cwd=folder, check=True)
    return {name: Outcome(*values) for name, values in json.loads(found.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_runs(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].code == 0, outcomes[name].err


@pytest.mark.parametrize("name", TRAINING)
def test_says_what_is_missing(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].code == 5
    assert outcomes[name].err.splitlines()[-1] == f"error: {MISSING}"
    assert "Traceback" not in outcomes[name].err


def test_what_was_written(folder: Path, outcomes: dict[str, Outcome]) -> None:
    wanted = ("model.onnx", "cal.bin", "model.qdq.onnx", "nvinfer_config.txt", "inference/detections.json")
    assert all((folder / name).stat().st_size for name in (*wanted, "report/report.html", "report/result.json"))
    assert json.loads((folder / "qdq.json").read_text())["frames"] == 4


def test_an_export_says_that_nothing_was_compared(outcomes: dict[str, Outcome]) -> None:
    assert "TensorFlow is not installed (pip install 'qatkit[train]')" in outcomes["export"].out
