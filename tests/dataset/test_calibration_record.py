"""The record of calibration images beside a cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import qatkit
from qatkit.dataset.calibration_images import ImageFiles, choose_images
from qatkit.dataset.calibration_record import record_path, write_record
from qatkit.dataset.images import ImageLayout
from qatkit.dataset.picture_file import PictureFile
from qatkit.export.export import export_recorded
from qatkit.model.file import Model
from tests.support.frames import noise, write_image
from tests.support.models import float_model, options, qat_model

HEIGHT, WIDTH = 16, 24


@pytest.fixture
def images(tmp_path: Path) -> ImageFiles:
    files = [
        write_image(tmp_path / "images" / f"{number}.png", noise(WIDTH, HEIGHT, seed=number)) for number in (1, 2)
    ]
    return choose_images([PictureFile(str(path)) for path in files], 2, 5, ImageLayout(WIDTH, HEIGHT), "a folder", 16)


@pytest.mark.parametrize(
    "cache, record",
    [("cal.bin", "cal.images.json"), ("int8.v2.cache", "int8.v2.images.json"), ("cache", "cache.images.json")],
)
def test_it_lies_beside_the_cache(cache: str, record: str) -> None:
    assert record_path(Path("deploy") / cache) == Path("deploy") / record


def test_it_tells_how_the_cache_was_made(tmp_path: Path, images: ImageFiles) -> None:
    (tmp_path / "cal.bin").write_bytes(b"abc")
    assert write_record(tmp_path / "cal.bin", "mse", images) == tmp_path / "cal.images.json"
    record = json.loads((tmp_path / "cal.images.json").read_text())
    assert record == {
        "qatkit": qatkit.__version__,
        "cache": "cal.bin",
        "cache_sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "calibrator": "mse",
        "source": "a folder",
        "seed": 5,
        "images": 2,
        "batch_size": 16,
        "layout": {"width": 24, "height": 16, "channels": 3, "auto_resize": False, "scale": [1, 1], "crop": [0, 0]},
        "files": [
            {"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()} for path in images.paths
        ],
    }


@pytest.mark.parametrize(
    "model, changes, used",
    [
        (float_model(), {}, True),
        (qat_model(), {}, True),  # for the tensors that QAT leaves out
        (qat_model(), {"force_ptq": True}, True),
        (qat_model(), {"cal_scope": "qat"}, False),
    ],
    ids=["float", "qat", "forced", "qat scope"],
)
def test_it_is_written_where_images_were_read(
    tmp_path: Path, images: ImageFiles, model: Model, changes: dict[str, Any], used: bool
) -> None:
    report = export_recorded(model, tmp_path / "model.onnx", options(tmp_path, **changes), images)
    record = tmp_path / "cal.images.json"
    assert (report.record, record.exists()) == ((record, True) if used else (None, False))
    if used:
        assert json.loads(record.read_text())["calibrator"] == report.calibrator == "minmax"


def test_the_same_record_makes_the_same_cache(tmp_path: Path, images: ImageFiles) -> None:
    export_recorded(float_model(), tmp_path / "model.onnx", options(tmp_path), images)
    first = json.loads((tmp_path / "cal.images.json").read_text())
    layout = ImageLayout(**{**first["layout"], "scale": (1.0, 1.0), "crop": (0, 0)})
    paths = tuple(item["path"] for item in first["files"])
    again = ImageFiles(paths, layout, first["source"], first["seed"], first["batch_size"], (False,) * len(paths))
    export_recorded(float_model(), tmp_path / "model.onnx", options(tmp_path), again)
    assert json.loads((tmp_path / "cal.images.json").read_text()) == first


def test_the_record_of_an_earlier_cache_goes_with_it(
    tmp_path: Path, images: ImageFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    export_recorded(qat_model(), tmp_path / "model.onnx", options(tmp_path), images)
    record = tmp_path / "cal.images.json"
    assert record.exists()
    assert export_recorded(qat_model(), tmp_path / "model.onnx", options(tmp_path)).record is None
    assert not record.exists()
    assert f"removed: {record}, of an earlier run" in capsys.readouterr().out


def test_without_a_cache_there_is_no_record(tmp_path: Path, images: ImageFiles) -> None:
    report = export_recorded(float_model(), tmp_path / "model.onnx", options(tmp_path, cal_cache_file=None), images)
    assert (report.cache, report.record) == (None, None)
