"""Calibration caches whose scales or names are of no use to a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatkit.errors import ModelError
from qatkit.export.scales import scales_for

TENSORS = {"input_1:0", "a:0", "b:0"}
GOOD, ZERO, DENORMAL, INFINITE, TINY = "3c010204", "0", "12345", "7f800000", "31a60d5b"
HUGE = "7149f2ca"  # 1e30


def written(path: Path, **values: str) -> Path:
    """A cache of tensors `a`, `b` and so on, in lines 2, 3 and so on."""
    lines = [f"{name}:0: {value}\n" for name, value in values.items()]
    path.write_text("TRT-8601-EntropyCalibration2\n" + "".join(lines))
    return path


def warnings_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.removeprefix("warning: ") for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "holds no scale: an empty calibration"),
        ({"a": ZERO, "b": ZERO}, "all 2 scales are 0: an empty calibration; line 2: scale 0 of a:0"),
        ({"a": ZERO, "b": "80000000"}, "all 2 scales are 0: an empty calibration; line 2: scale 0 of a:0"),
        ({"a": ZERO}, "the only scale is 0: an empty calibration; line 2: scale 0 of a:0"),
        ({"x": ZERO, "y": ZERO}, "all 2 scales are 0: an empty calibration; line 2: scale 0 of x:0"),
        ({"a": INFINITE, "b": INFINITE}, "all 2 scales are infinite; line 2: scale inf of a:0"),
        ({"a": DENORMAL, "b": "1"}, "all 2 scales are denormal; line 2: scale 1.04e-40 of a:0"),
        ({"a": TINY, "b": TINY}, "all 2 scales are vanishingly small; line 2: scale 4.83e-09 of a:0"),
        ({"a": HUGE, "b": HUGE}, "all 2 scales are absurdly large; line 2: scale 1e+30 of a:0"),
        ({"a": "7f7fffff"}, "the only scale is too large; line 2: scale 3.4e+38 of a:0"),
        (
            {"a": ZERO, "b": TINY, "c": ZERO},
            "all 3 scales are of no use: 2 0, 1 vanishingly small; line 2: scale 0 of a:0",
        ),
        ({"x": GOOD, "a": ZERO, "b": ZERO}, "all 2 scales for tensors of this ONNX are 0"),
        ({"x": GOOD, "a": INFINITE}, "the only scale for tensors of this ONNX is infinite; line 3: scale inf of a:0"),
    ],
)
def test_a_cache_without_any_sound_scale_is_refused(values: dict[str, str], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "cal.bin", **values)
    with pytest.raises(ModelError) as caught:
        scales_for(TENSORS, path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "calibrate again, with images" in str(caught.value)


def test_only_names_are_at_fault_where_the_scales_are_sound(tmp_path: Path) -> None:
    path = written(tmp_path / "cal.bin", x=ZERO, y=GOOD)
    with pytest.raises(ModelError, match=r"cal\.bin: names no tensor of this ONNX; the first is x:0 in line 2"):
        scales_for(TENSORS, path)


@pytest.mark.parametrize(
    "values, used, warning",
    [
        ({"a": GOOD, "b": GOOD}, ["a:0", "b:0"], ""),
        ({"a": GOOD, "b": ZERO}, ["a:0"], "1 of 2 scales is 0; line 3: scale 0 of b:0; a tensor with such a line"),
        ({"a": INFINITE, "b": GOOD}, ["b:0"], "1 of 2 scales is infinite; line 2: scale inf of a:0; a tensor with"),
        (
            {"a": GOOD, "b": DENORMAL},
            ["a:0"],
            "1 of 2 scales is denormal; line 3: scale 1.04e-40 of b:0; a tensor with",
        ),
        (
            {"input_1": GOOD, "a": ZERO, "b": INFINITE},
            ["input_1:0"],
            "2 of 3 scales are 0 or infinite; line 3: scale 0 of a:0; a tensor with",
        ),
        (
            {"a": GOOD, "b": TINY},
            ["a:0", "b:0"],
            "1 of 2 scales is vanishingly small; line 3: scale 4.83e-09 of b:0; as of a tensor that was 0",
        ),
        (
            {"a": GOOD, "b": HUGE},
            ["a:0", "b:0"],
            "1 of 2 scales is absurdly large; line 3: scale 1e+30 of b:0; as of a calibration that diverged",
        ),
        ({"a": GOOD, "x": ZERO}, ["a:0"], "1 of 2 names are no tensors of the network, such as x:0"),
    ],
)
def test_single_odd_lines_are_counted_and_the_first_is_named(
    values: dict[str, str], used: list[str], warning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "cal.bin", **values)
    assert list(scales_for(TENSORS, path)) == used
    told = warnings_of(capsys)
    assert len(told) == bool(warning)
    assert all(line.startswith(f"{path}: {warning}") for line in told)
