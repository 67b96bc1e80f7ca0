"""qatkit from Python: light to import, typed, and as README shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qatkit
from qatkit import api
from qatkit.detectnet.labels import Labels
from qatkit.errors import ModelError, SpecError, UsageError
from qatkit.model.file import Model, save_model
from tests.support.datasets import experiment, write_frames
from tests.support.models import float_model, qat_model
from tests.support.networks import Net

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CAR = [("car", (40.0, 20.0, 90.0, 70.0))]


def python(program: str, folder: Path = ROOT) -> str:
    """What `program` prints, run by a Python of its own in `folder`."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_qatkit_imports_nothing_that_takes_long() -> None:
    program = (
        "before = set(sys.modules); import qatkit; print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    assert set(python(program).split()) <= {"qatkit", "typing", *sys.stdlib_module_names}


def test_the_names_are_those_of_the_api() -> None:
    program = "import qatkit; print(dir(qatkit)); from qatkit import *; print(export.__module__, prune.__module__)"
    listed, modules = python(program).splitlines()
    assert set(qatkit.__all__) <= set(re.findall(r"\w+", listed))
    assert modules == "qatkit.export.from_python qatkit.api"
    assert all(getattr(api, name).__doc__ for name in qatkit.__all__)


def test_export_can_be_called_whatever_was_imported_before() -> None:
    program = (
        "import qatkit, qatkit.export.names\n"
        "try: qatkit.export(None, 'model.onnx', data_type='int7')\n"
        "except AttributeError as error: print(error)"  # of the model: the call arrived
    )
    assert "NoneType" in python(program)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tain'"):
        qatkit.tain  # type: ignore[attr-defined]  # noqa: B018


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """spec.txt with its data, and model.tlt, encrypted."""
    for fold, names in enumerate(("ab", "cde")):
        write_frames(tmp_path, fold, dict.fromkeys(names, CAR))
    experiment(tmp_path)
    net = Net(48, 64)
    stem = net.conv_bn_relu("stem", net.input, 32, stride=4)
    net.heads(net.conv_bn_relu("last", net.conv_bn_relu("middle", stem, 32, stride=4), 16), classes=1)
    save_model(tmp_path / "model.tlt", Model(net.graph(), Labels(("car",))), "the key")
    return tmp_path


def test_readme(folder: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    printed = python("\n".join(blocks), folder)
    assert re.search(r"^\d+ parameters, pruned \d+$", printed, re.MULTILINE)
    assert re.search(r"^ptq \d+ tensors in the cache$", printed, re.MULTILINE)
    assert re.search(r"^int8-ptq: mAP \d+\.\d\d \{'car': [\d.]+\}$", printed, re.MULTILINE)
    made = {path.name for path in folder.iterdir()}
    assert {"pruned.tlt", "model.onnx", "model.qdq.onnx", "cal.bin"} <= made


def test_pruning_leaves_the_model_as_it_was(folder: Path) -> None:
    model = api.open_model(folder / "model.tlt", "the key")
    before = model.graph.params
    smaller = api.prune(model, threshold=0.9, min_num_filters=8)
    assert smaller.pruned and not model.pruned
    assert smaller.graph.params < before == model.graph.params
    assert api.prune(model, threshold=0.9, min_num_filters=8, excluded=["middle"]).graph.shape("middle")[2] == 32
    api.save_model(smaller, folder / "small.tlt")
    assert api.open_model(folder / "small.tlt").graph.params == smaller.graph.params


def test_a_model_runs_as_its_export_does(folder: Path) -> None:
    model, spec = api.open_model(folder / "model.tlt", "the key"), api.load_spec(folder / "spec.txt")
    api.export(model, folder / "model.onnx")
    exported = api.evaluate(api.open_engine(folder / "model.onnx"), spec)
    trained = api.evaluate(model, spec)
    assert exported.map == pytest.approx(trained.map, abs=1.0)
    assert exported.frames == trained.frames == 2
    assert api.evaluate(model, spec, training_set=True).frames == 3


@pytest.mark.parametrize("kind", ["folder", "spec", "arrays"])
def test_images_to_calibrate_on(folder: Path, kind: str) -> None:
    model = api.open_model(folder / "model.tlt", "the key")
    batches = [np.random.default_rng(0).random((2, 48, 64, 3), np.float32)]
    images = {"folder": str(folder / "images"), "spec": api.load_spec(folder / "spec.txt"), "arrays": batches}[kind]
    report = api.export(model, folder / "m.onnx", data_type="int8", cal_cache=folder / "cal.bin", images=images)
    assert (report.source, report.calibrator) == ("ptq", "entropy")
    assert report.qdq is not None and report.qdq.is_file()
    assert (report.record is not None) is (kind != "arrays")


def test_a_qat_model_needs_no_images(tmp_path: Path) -> None:
    report = api.export(qat_model(), tmp_path / "m.onnx", data_type="int8")
    assert report.source == "qat"
    assert api.open_engine(tmp_path / "m.qdq.onnx").precision == "int8-qat"
    with pytest.raises(UsageError, match="needs images"):
        api.export(float_model(), tmp_path / "m.onnx", data_type="int8")


def test_errors_are_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "spec.txt").write_text("nonsense: 1")
    with pytest.raises(SpecError, match="nonsense"):
        api.load_spec(tmp_path / "spec.txt")
    with pytest.raises(ModelError, match=r"model\.tlt"):
        api.open_model(tmp_path / "model.tlt")
