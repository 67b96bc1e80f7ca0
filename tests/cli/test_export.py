"""The flags of `qatkit export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qatkit.cli import main
from qatkit.model.file import save_model
from tests.support.frames import noise, write_image
from tests.support.models import float_model, model_of, qat_model
from tests.support.networks import Net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "qat.tlt", qat_model())
    save_model(tmp_path / "float.tlt", float_model())
    return tmp_path


def run(model: Path, *flags: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["export", "-m", str(model), *flags])
    assert isinstance(left.value.code, int)
    return left.value.code


INT8 = ("--data_type", "int8")


def test_the_plan_is_shown_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    assert run(folder / "qat.tlt", *INT8, "--show_plan") == 0
    out = capsys.readouterr().out
    assert "placement tensorrt: 5 tensors, 4 kernels (per channel)" in out
    row = next(line for line in out.splitlines() if " b_bn " in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["b_bn", "Conv2D-BatchNorm", "int8", "added inside sum"]
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "model, flags, code, message",
    [
        ("none.tlt", (), 4, "none.tlt"),
        ("float.tlt", ("--data_type", "int4"), 2, "int4"),
        ("float.tlt", INT8, 2, "needs images"),
        ("qat.tlt", (*INT8, "--force_ptq"), 2, "needs images"),
        ("float.tlt", ("--force_ptq",), 2, "--force_ptq goes with --data_type int8"),
        ("float.tlt", ("--cal_json_file", "ranges.json"), 2, "--cal_json_file goes with --data_type int8"),
        ("qat.tlt", (*INT8, "--skip_layers", "a"), 2, "keeps the placement it was trained with"),
        ("qat.tlt", (*INT8, "--trt_version", "ten"), 2, "TensorRT version 'ten'"),
        ("qat.tlt", (*INT8, "--calibrator", "kl"), 2, "'kl' is not one of 'entropy', 'minmax'"),
        ("float.tlt", (*INT8, "--show_plan", "--skip_layers", "conv9"), 2, "no layer is called conv9"),
        ("float.tlt", ("--cal_data_file", "cal.tensorfile"), 2, "--cal_data_file goes with --data_type int8"),
        ("float.tlt", (*INT8, "--cal_data_file", "cal.tensorfile"), 3, "cal.tensorfile: no such tensor file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_no_file(
    folder: Path,
    model: str,
    flags: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(folder.iterdir())
    assert run(folder / model, "-o", str(folder / "model.onnx"), *flags) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert sorted(folder.iterdir()) == before


def test_a_qat_model_becomes_all_files_and_a_second_run_says_what_it_replaces(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder / "deploy" / "model"
    flags = (*INT8, "-o", str(output), "--gen_ds_config", "--cal_json_file", str(folder / "deploy" / "cal.json"))
    assert run(folder / "qat.tlt", *flags) == 0
    assert sorted(path.name for path in output.parent.iterdir()) == [
        *("cal.bin", "cal.json", "labels.txt", "model.onnx", "model.qdq.onnx", "nvinfer_config.txt")
    ]
    out = capsys.readouterr().out
    assert "float ONNX against Keras: largest difference" in out
    assert "5 tensors in the cache, 7 not" in out
    assert "replaced" not in out
    written = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    assert run(folder / "qat.tlt", *flags) == 0
    assert f"replaced: {output.parent / 'cal.bin'}" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == written


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images for calibration."""
    for number in range(2):
        write_image(tmp_path / "images" / f"{number}.png", noise(24, 16, seed=number))
    return tmp_path / "images"


def test_the_images_of_a_calibration_are_recorded(
    folder: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = folder / "deploy" / "int8.bin"
    flags = (*INT8, "--cal_image_dir", str(images), "--cal_cache_file", str(cache), "--calibrator", "mse")
    assert run(folder / "float.tlt", *flags) == 0
    record = cache.with_name("int8.images.json")
    assert f"written: {record} (0.00 MB)" in capsys.readouterr().out.splitlines()
    found = json.loads(record.read_text())
    assert (found["calibrator"], found["seed"], found["images"]) == ("mse", 42, 2)
    assert {Path(item["path"]) for item in found["files"]} == set(images.iterdir())


DLA = (
    "A DLA computes in INT8 and FP16, at one batch size; TensorRT 8 to 10.7 build for it from ONNX and cache, "
    "TensorRT 11 reads no cache and has a DLA again from 11.4 on (Q/DQ ONNX)"
)


@pytest.mark.parametrize(
    "model, more, covered",
    [
        ("qat.tlt", (), "12 of 12 have one; the ranges of quantization-aware training are dropped"),
        ("float.tlt", (), "12 of 12 have one"),
        ("float.tlt", ("--skip_layers", "b"), "4 of 12 have one; --skip_layers leaves the others out"),
    ],
)
def test_force_ptq_tells_what_a_dla_can_run(
    folder: Path, images: Path, model: str, more: tuple[str, ...], covered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder / model, *INT8, "--force_ptq", "--cal_image_dir", str(images), *more) == 0
    out = capsys.readouterr().out.splitlines()
    start = out.index(DLA)
    assert out[start - 1 : start + 2] == [
        f"--force_ptq is for a DLA: it fuses no layers and needs a scale of every tensor. {covered}",
        DLA,
        "no layer exceeds the documented limits of a DLA",
    ]


def test_what_a_dla_cannot_run_is_named(folder: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    pooled = net.max_pool("pool", net.conv_bn_relu("stem", net.input, 4), 9, 1, 4)
    net.heads(net.conv_bn_relu("a", pooled, 4))
    save_model(folder / "wide.tlt", model_of(net, qat=False))
    assert run(folder / "wide.tlt", *INT8, "--force_ptq", "--cal_image_dir", str(images)) == 0
    limit = "beyond the documented limits of a DLA, so for the GPU: pool: kernel_size 9x9, a DLA takes 1 to 8"
    assert limit in capsys.readouterr().out.splitlines()
