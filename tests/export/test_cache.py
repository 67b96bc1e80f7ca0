"""Calibration caches: TensorRT's text format, byte for byte."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatkit.errors import ModelError, UsageError
from qatkit.export.cache import (
    CalibrationCache,
    from_ranges,
    hex_to_scale,
    parse_cache,
    read_cache,
    scale_to_hex,
    version_number,
    write_cache,
    write_ranges_json,
)
from tests.support import golden_data

# Published caches of other authors; the folder of a checkout that has them, or QATKIT_CORPUS.
CORPUS = Path(os.environ.get("QATKIT_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus") / "calibration"


@pytest.mark.parametrize(
    "version, number",
    [
        ("10.3.0", 100300),
        ("10.13.2", 101302),
        ("8.6.1", 8601),
        ("8.6.1.6", 8601),
        ("8.0.1", 8001),
        ("8.5.3", 8503),
        ("8.5.3.1", 8503),
        ("8.5.2", 8502),
        ("7.2.1", 7201),
        ("8.6", 8600),
    ],
)
def test_the_number_in_the_header(version: str, number: int) -> None:
    assert version_number(version) == number


@pytest.mark.parametrize("version", ["", "ten", "10", "10.3.0-rc1", "100300"])
def test_a_version_of_another_form_is_an_error(version: str) -> None:
    with pytest.raises(UsageError, match="TensorRT version"):
        version_number(version)


@pytest.mark.parametrize(
    "amax, text",
    [
        (6.0, "3d418306"),
        (1.0, "3c010204"),
        (0.5, "3b810204"),
        (2.5, "3ca14285"),
        (12.75, "3dcd9b36"),
        (127.0, "3f800000"),
        (2.0**-142 * 127, "80"),
        (0.0, "0"),
    ],
)
def test_hexadecimal_of_a_range(amax: float, text: str) -> None:
    assert scale_to_hex(amax / 127) == text
    assert hex_to_scale(text) == pytest.approx(amax / 127, rel=1e-7)


@given(st.floats(width=32, min_value=0, allow_infinity=False))
def test_hexadecimal_survives_the_way_back(scale: float) -> None:
    assert hex_to_scale(scale_to_hex(scale)) == scale


def test_an_empty_cache_is_a_header() -> None:
    assert from_ranges({}).to_text() == "TRT-100300-EntropyCalibration2\n"
    assert parse_cache("TRT-8601-EntropyCalibration2").scales == {}


def test_text_and_back() -> None:
    cache = from_ranges({"input_1:0": 1.0, "(Unnamed Layer* 1) [Constant]_output": 6.0}, "8.6.1")
    assert cache.to_text() == (
        "TRT-8601-EntropyCalibration2\ninput_1:0: 3c010204\n(Unnamed Layer* 1) [Constant]_output: 3d418306\n"
    )
    assert parse_cache(cache.to_text()) == cache
    assert cache.ranges["input_1:0"] == pytest.approx(1.0, rel=1e-7)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: no calibration cache"),
        ("1\ninput_1: 3c010204\n", "line 1: no calibration cache"),
        ("TRT-8601-EntropyCalibration2\ninput_1 3c010204\n", "line 2"),
        ("TRT-8601-EntropyCalibration2\ninput_1: 0x3c01\n", "line 2: expected up to eight hexadecimal digits"),
        ("TRT-8601-EntropyCalibration2\ninput_1: 3c0102041\n", "line 2: expected up to eight"),
        ("TRT-8601-EntropyCalibration2\n: 3c010204\n", "line 2: no tensor name"),
        ("TRT-8601-EntropyCalibration2\na: 3c010204\na: 3c010204\n", "line 3: tensor listed twice: a"),
        ("TRT-8601-EntropyCalibration2\na: bc010204\n", r"line 2: scale -0\.0078\d+ \(bc010204\) of a is negative"),
        ("TRT-8601-EntropyCalibration2\na: ff800000\n", r"line 2: scale -inf \(ff800000\) of a is negative"),
        ("TRT-8601-EntropyCalibration2\na: 7fc00000\n", r"line 2: scale nan \(7fc00000\) of a is no number"),
    ],
)
def test_a_damaged_cache_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_cache(text)


@pytest.mark.parametrize(
    "text, usable",
    [
        ("0", False),
        ("80000000", False),  # minus zero
        ("1", False),  # the smallest denormal
        ("7fffff", False),
        ("800000", True),  # the smallest normal number
        ("31a60d5b", True),  # 4.8e-9, in a published cache
        ("3c010204", True),
        ("7c010204", True),
        ("7c010205", False),  # its range would be infinite
        ("7f800000", False),
    ],
)
def test_lines_that_give_no_scale_are_read_and_written_but_not_used(text: str, usable: bool) -> None:
    content = f"TRT-8601-EntropyCalibration2\n\na: {text}\nb: 3c010204\n"
    cache = parse_cache(content)
    assert cache.to_text() == content.replace("\n\n", "\n")
    assert cache.lines == {"a": 3, "b": 4}
    assert set(cache.usable.scales) == ({"a", "b"} if usable else {"b"})


@given(st.text())
def test_any_text_is_a_cache_or_an_error_for_the_user(text: str) -> None:
    for candidate in (text, f"TRT-8601-EntropyCalibration2\n{text}"):
        with contextlib.suppress(ModelError):
            assert isinstance(parse_cache(candidate), CalibrationCache)


@pytest.mark.parametrize("amax", [0.0, -1.0, float("inf"), float("nan"), 1e-40])
def test_a_range_without_a_scale_is_refused(amax: float) -> None:
    with pytest.raises(ModelError, match="tensor x: a range must be positive"):
        from_ranges({"x": amax})


def test_a_name_that_the_onnx_lacks_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    cache = from_ranges({"input_1:0": 1.0, "gone:0": 1.0})
    with pytest.raises(ModelError, match="no tensor gone:0"):
        write_cache(tmp_path / "cal.bin", cache, ["input_1:0", "other:0"])
    assert list(tmp_path.iterdir()) == []
    write_cache(tmp_path / "cal.bin", cache, ["input_1:0", "gone:0"])
    assert read_cache(tmp_path / "cal.bin") == cache


def test_a_missing_cache_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read this calibration cache"):
        read_cache(tmp_path / "none.bin")


@golden_data.parametrize("10_export")
@pytest.mark.parametrize("style", ["onnx", "uff"])
def test_the_cache_of_taos_ranges_is_taos_cache(case: dict[str, Any], style: str) -> None:
    export = case["export"][style]
    assert from_ranges(export["tensor_scales"], "8.5.3").to_text() == export["cache_text"]


def test_the_files_of_a_whole_export_of_tao(tmp_path: Path) -> None:
    caches = sorted((golden_data.ROOT / "10_export").glob("*_cal.bin"))
    if not caches:
        pytest.skip(f"{golden_data.ROOT} holds no whole export")
    for path in caches:
        ranges = json.loads(path.with_suffix(".json").read_text())["tensor_scales"]
        write_cache(tmp_path / "cal.bin", from_ranges(ranges, "8.5.3"), ranges)
        write_ranges_json(tmp_path / "cal.json", ranges)
        assert (tmp_path / "cal.bin").read_bytes() == path.read_bytes()
        assert (tmp_path / "cal.json").read_bytes() == path.with_suffix(".json").read_bytes()


def test_tensors_that_taos_cache_names_but_its_onnx_lacks_are_told(tmp_path: Path) -> None:
    """The original writes such pairs, and a builder then leaves layers in float without a word."""
    for path in sorted((golden_data.ROOT / "10_export").glob("*_onnx_graph.json")):
        graph = json.loads(path.read_text())
        names = {name for node in graph["nodes"] for name in (*node["inputs"], *node["outputs"])}
        cache = read_cache(path.with_name(path.name.replace("_onnx_graph.json", "_cal.bin")))
        lacking = [name for name in cache.scales if name not in names]
        assert lacking
        with pytest.raises(ModelError, match=f"no tensor {re.escape(lacking[0])}"):
            write_cache(tmp_path / "cal.bin", cache, sorted(names))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not CORPUS.exists(), reason=f"no published caches in {CORPUS}")
def test_published_caches_are_written_back_byte_for_byte() -> None:
    paths = sorted(CORPUS.glob("*__*.txt"))
    assert len(paths) >= 6
    for path in paths:
        assert read_cache(path).to_text().encode() == path.read_bytes(), path.name


@pytest.mark.skipif(not CORPUS.exists(), reason=f"no published caches in {CORPUS}")
@pytest.mark.parametrize(
    "file, tensors, tensor, amax",
    [
        ("savant-work__trafficcamnet_onnx_cal_trt.bin.txt", 211, "input_1:0", 1.0002444),
        ("deepstream_tao_integration__trafficcamnet_int8.txt", 131, "output_cov/Sigmoid", 0.97614),
        ("DreamVu_3D-People-Detection-Tracking__1.cache.txt", 188, "input1", 2.4321),
    ],
)
def test_published_caches_are_understood(file: str, tensors: int, tensor: str, amax: float) -> None:
    cache = read_cache(CORPUS / file)
    assert len(cache.scales) == tensors
    assert cache.ranges[tensor] == pytest.approx(amax, rel=1e-3)
