"""DeepStream's configuration, read back as nvinfer reads it."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Any

import pytest

from qatkit.export.deepstream import ClassThresholds, DeepStream, write_deepstream

CORPUS = Path(os.environ.get("QATKIT_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus") / "nvinfer"


def config(folder: Path, **changes: Any) -> DeepStream:
    values: dict[str, Any] = {
        "onnx": folder / "model.onnx",
        "cache": folder / "cal.bin",
        "data_type": "int8",
        "classes": ("car", "road sign"),
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
    found = dict(read(nvinfer)["property"])
    expected = {
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
    }
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize("data_type, mode", [("fp32", "0"), ("fp16", "2")])
def test_float_types_have_no_calibration_file(tmp_path: Path, data_type: str, mode: str) -> None:
    _, nvinfer = write_deepstream(config(tmp_path, data_type=data_type), tmp_path)
    found = read(nvinfer)["property"]
    assert found["network-mode"] == mode
    assert found["model-engine-file"] == f"model.onnx_b1_gpu0_{data_type}.engine"
    assert "int8-calib-file" not in found


def test_a_grey_network(tmp_path: Path) -> None:
    _, nvinfer = write_deepstream(config(tmp_path, input_shape=(100, 200, 1)), tmp_path)
    found = read(nvinfer)["property"]
    assert (found["infer-dims"], found["model-color-format"], found["offsets"]) == ("1;100;200", "2", "0.0")


def test_thresholds_of_each_class(tmp_path: Path) -> None:
    thresholds = [ClassThresholds(0.05, 0.3), ClassThresholds(0.4, 0.5)]
    _, nvinfer = write_deepstream(config(tmp_path, thresholds=thresholds), tmp_path)
    found = read(nvinfer)
    assert found.sections() == ["property", "class-attrs-all", "class-attrs-0", "class-attrs-1"]
    assert float(found["class-attrs-0"]["pre-cluster-threshold"]) == 0.05
    assert float(found["class-attrs-1"]["pre-cluster-threshold"]) == 0.4
    assert float(found["class-attrs-0"]["nms-iou-threshold"]) == 0.3


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
