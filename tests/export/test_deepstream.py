"""DeepStream's configuration, read back as nvinfer reads it."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Any

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.errors import UsageError
from qatkit.export.deepstream import ClassThresholds, DeepStream, write_deepstream

CORPUS = Path(os.environ.get("QATKIT_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus") / "nvinfer"


def config(folder: Path, **changes: Any) -> DeepStream:
    values: dict[str, Any] = {
        "onnx": folder / "model.onnx",
        "cache": folder / "cal.bin",
        "data_type": "int8",
        "labels": Labels(("car", "road sign")),
        "input_shape": (544, 960, 3),
        "outputs": ("output_bbox/BiasAdd:0", "output_cov/Sigmoid:0"),
    }
    return DeepStream(**{**values, **changes})


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), strict=True)
    parser.read_string(path.read_text())
    return parser


def test_everything_that_nvinfer_needs_for_an_onnx_file(tmp_path: Path) -> None:
    labels, nvinfer = write_deepstream(config(tmp_path), tmp_path)
    assert labels.read_text() == "car\nroad sign\n"
    assert dict(read(nvinfer)["property"]) == {
        "gpu-id": "0",
        "onnx-file": "model.onnx",
        "model-engine-file": "model.onnx_b1_gpu0_int8.engine",
        "int8-calib-file": "cal.bin",
        "labelfile-path": "labels.txt",
        "infer-dims": "3;544;960",
        "batch-size": "1",
        "network-mode": "1",
        "network-type": "0",
        "num-detected-classes": "2",
        "model-color-format": "0",
        "net-scale-factor": "0.00392156862745098",
        "offsets": "0.0;0.0;0.0",
        "output-blob-names": "output_bbox/BiasAdd:0;output_cov/Sigmoid:0",
        "cluster-mode": "2",
        "process-mode": "1",
        "maintain-aspect-ratio": "0",
        "output-tensor-meta": "0",
        "interval": "0",
        "gie-unique-id": "1",
    }


@pytest.mark.parametrize("data_type, mode", [("fp32", "0"), ("fp16", "2")])
@pytest.mark.parametrize("cache", [None, "cal.bin"])
def test_float_types_have_no_calibration_file(tmp_path: Path, data_type: str, mode: str, cache: str | None) -> None:
    changes = {"data_type": data_type, "cache": cache and tmp_path / cache}
    _, nvinfer = write_deepstream(config(tmp_path, **changes), tmp_path)
    found = read(nvinfer)["property"]
    assert found["network-mode"] == mode
    assert found["model-engine-file"] == f"model.onnx_b1_gpu0_{data_type}.engine"
    assert "int8-calib-file" not in found


def test_int8_without_a_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only with a calibration cache"):
        config(tmp_path, cache=None)


@pytest.mark.parametrize("data_type", ["int8", "fp16", "fp32"])
def test_the_engine_is_where_nvinfer_writes_it(tmp_path: Path, data_type: str) -> None:
    """nvdsinfer_model_builder.cpp: modelPath + "_b" + batch size + "_gpu" + number + "_" + mode + ".engine"."""
    _, nvinfer = write_deepstream(config(tmp_path / "model", data_type=data_type), tmp_path / "model")
    found = read(nvinfer)["property"]
    name = f"{found['onnx-file']}_b{found['batch-size']}_gpu{found['gpu-id']}_{data_type}.engine"
    assert found["model-engine-file"] == name


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, ""),
        ({"grid": (34, 60)}, ""),
        ({"labels": Labels(("car",), box_scale=20.0)}, "boxes in units of 35 pixels, not of 20"),
        ({"labels": Labels(("car",), box_offset=0.0)}, "an offset of 0.5 pixels, not of 0"),
        # Stride 32: 17 rows of 32 pixels, but 9 rows of 30.2.
        ({"grid": (17, 30)}, ""),
        ({"input_shape": (272, 960, 3), "grid": (9, 30)}, "rows 31 pixels apart, not 30.22"),
        ({"input_shape": (544, 976, 3), "grid": (17, 31)}, "columns 32 pixels apart, not 31.48"),
    ],
)
def test_what_nvinfer_decodes_wrongly_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], expected: str
) -> None:
    write_deepstream(config(tmp_path, **changes), tmp_path)
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"nvinfer expects {expected}:" in said if expected else said == ""


def test_a_grey_network(tmp_path: Path) -> None:
    _, nvinfer = write_deepstream(config(tmp_path, input_shape=(100, 200, 1)), tmp_path)
    found = read(nvinfer)["property"]
    assert (found["infer-dims"], found["model-color-format"], found["offsets"]) == ("1;100;200", "2", "0.0")


def test_thresholds_of_each_class(tmp_path: Path) -> None:
    thresholds = [ClassThresholds(0.05, 0.3), ClassThresholds(0.4, 0.5)]
    _, nvinfer = write_deepstream(config(tmp_path, thresholds=thresholds), tmp_path)
    found = read(nvinfer)
    assert found.sections() == ["property", "class-attrs-all", "class-attrs-0", "class-attrs-1"]
    rest = {"topk": "200"}
    assert dict(found["class-attrs-all"]) == {"pre-cluster-threshold": "0.2", "nms-iou-threshold": "0.5", **rest}
    assert dict(found["class-attrs-0"]) == {"pre-cluster-threshold": "0.05", "nms-iou-threshold": "0.3", **rest}
    assert dict(found["class-attrs-1"]) == {"pre-cluster-threshold": "0.4", "nms-iou-threshold": "0.5", **rest}


def test_a_cache_in_another_folder_keeps_its_path(tmp_path: Path) -> None:
    cache = tmp_path / "calibration" / "cal.bin"
    _, nvinfer = write_deepstream(config(tmp_path / "model", cache=cache), tmp_path / "model")
    named = Path(read(nvinfer)["property"]["int8-calib-file"])
    assert (tmp_path / "model" / named).resolve() == cache.resolve()


@pytest.mark.skipif(not CORPUS.exists(), reason=f"no published configurations in {CORPUS}")
def test_the_keys_are_those_of_published_configurations(tmp_path: Path) -> None:
    published: dict[str, set[str]] = {"property": set(), "class-attrs": set()}
    for path in CORPUS.glob("*__*.txt"):
        parser = read(path)
        for section in parser.sections():
            published["property" if section == "property" else "class-attrs"] |= set(parser[section])
    assert len(published["property"]) > 30
    _, nvinfer = write_deepstream(config(tmp_path, thresholds=[ClassThresholds()] * 2), tmp_path)
    found = read(nvinfer)
    assert set(found["property"]) <= published["property"]
    assert set(found["class-attrs-0"]) <= published["class-attrs"]
