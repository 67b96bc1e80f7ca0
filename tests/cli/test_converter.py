"""`qatkit converter`, and engines with the other commands, as far as they come without TensorRT."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from qatkit.engine.tensorrt.sidecar import sidecar_path
from qatkit.model.file import save_model
from tests.support.commands import qatkit, succeed
from tests.support.models import float_model, qat_model
from tests.support.specs import EXPERIMENT, INFERENCE
from tests.support.tensorrt_data import skip_without_tensorrt

without_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here"
)
MISSING = "error: TensorRT is not installed here (pip install 'qatkit[tensorrt]' on the machine with the GPU)\n"
PROFILE = "input_1:0,1x3x16x24,2x3x16x24,4x3x16x24"


@pytest.mark.parametrize(
    "flags, message",
    [
        ((), "Missing argument 'INPUT_FILE'"),
        (("model.onnx", "-t", "int4"), "'int4' is not one of"),
        (("model.onnx", "-d", "544,960"), "-d 544,960: expected channels,height,width"),
        (("model.onnx", "-p", "input_1:0,4x3x16x24"), "expected input,min,opt,max"),
        (("model.onnx", "-w", "4"), "a workspace of 4 bytes is too small (2147483648 is 2 GB)"),
        (("model.onnx", "-u", "0"), "a DLA computes in FP16 and INT8 only"),
        (("model.onnx", "-u", "0", "-t", "fp16", "-p", PROFILE), "a DLA takes one batch size only"),
        (("model.onnx", "-i", "nhwc"), "'nhwc' is not 'nchw'"),
    ],
)
def test_flags_that_make_no_sense(flags: tuple[str, ...], message: str) -> None:
    outcome = qatkit("converter", *flags)
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err


@without_tensorrt
@pytest.mark.parametrize(
    "flags",
    [
        (),
        # A command line of tao-converter.
        (
            *("-k", "tlt_encode", "-d", "3,544,960", "-o", "output_cov/Sigmoid,output_bbox/BiasAdd", "-c", "cal.bin"),
            *("-e", "model.engine", "-b", "8", "-m", "4", "-t", "int8", "-w", "1073741824", "-i", "nchw", "-s"),
        ),
        ("-t", "fp16", "-p", PROFILE),
        ("-t", "int8", "-c", "cal.bin", "-u", "1"),
    ],
)
def test_flags_that_only_lack_tensorrt(flags: tuple[str, ...]) -> None:
    outcome = qatkit("converter", *flags, "model.onnx")
    assert (outcome.code, outcome.out, outcome.err) == (5, "", MISSING)


@without_tensorrt
@pytest.mark.parametrize("name", ["model.engine", "model.plan", "model.trt"])
@pytest.mark.parametrize("command", ["evaluate", "inference"])
def test_an_engine_without_tensorrt_is_one_line_before_anything_long(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qatkit.keras.startup.import_tensorflow", lambda: pytest.fail("TensorFlow takes seconds"))
    (tmp_path / name).write_bytes(b"an engine")
    (tmp_path / "image.png").touch()
    (tmp_path / "spec.txt").write_text(EXPERIMENT if command == "evaluate" else INFERENCE)
    images = ("-i", tmp_path) if command == "inference" else ()
    spec, model, results = tmp_path / "spec.txt", tmp_path / name, tmp_path / "results"
    outcome = qatkit(command, "-e", spec, "-m", model, "-r", results, *images)
    assert (outcome.code, outcome.out, outcome.err) == (5, "", MISSING)


EXPORT_FLAGS = ("--engine_file", "model.engine")


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--dla_core", "0"), "--dla_core goes with --engine_file"),
        ((*EXPORT_FLAGS, "--dla_core", "0"), "a DLA computes in FP16 and INT8 only"),
        ((*EXPORT_FLAGS, "--max_workspace_size", "4"), "a workspace of 4 bytes is too small"),
        ((*EXPORT_FLAGS, "--min_batch_size", "2"), "batch sizes 2, 1, 1: expected 1 <= min <= opt <= max"),
        (
            (*EXPORT_FLAGS, "--data_type", "fp16", "--dla_core", "0", "--max_batch_size", "2"),
            "a DLA takes one batch size only",
        ),
    ],
)
def test_export_flags_that_make_no_sense(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    outcome = qatkit("export", "-m", tmp_path / "none.tlt", *flags)
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err


@without_tensorrt
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--data_type", "fp16", "--max_workspace_size", "1073741824", "-s"),
        ("--min_batch_size", "1", "--opt_batch_size", "4", "--max_batch_size", "8"),
        ("--data_type", "int8", "--cal_image_dir", "none", "--dla_core", "1"),
    ],
)
def test_export_of_an_engine_without_tensorrt_begins_nothing(flags: tuple[str, ...], tmp_path: Path) -> None:
    save_model(tmp_path / "float.tlt", float_model())
    before = sorted(tmp_path.iterdir())
    outcome = qatkit("export", "-m", tmp_path / "float.tlt", "-o", tmp_path / "model.onnx", *EXPORT_FLAGS, *flags)
    assert (outcome.code, outcome.out, outcome.err) == (5, "", MISSING)
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def _tensorrt() -> None:
    skip_without_tensorrt()


@pytest.mark.gpu
@pytest.mark.usefixtures("_tensorrt")
def test_engines_from_both_commands(tmp_path: Path) -> None:
    save_model(tmp_path / "qat.tlt", qat_model())
    onnx, built = tmp_path / "model.onnx", tmp_path / "built.engine"
    outcome = succeed("export", "-m", tmp_path / "qat.tlt", "-o", onnx, "--data_type", "int8", "--engine_file", built)
    assert f"written: {built}" in outcome.out
    converted = tmp_path / "converted.engine"
    outcome = succeed("converter", tmp_path / "model.qdq.onnx", "-t", "int8", "-e", converted, "-d", "3,16,24")
    assert "int8-qat" in outcome.out
    assert sidecar_path(built).is_file() and sidecar_path(converted).is_file()
