"""What a command line says of an engine and its network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.tensorrt.expected import Expected, check_network, parse_dims, parse_profile
from qatkit.engine.tensorrt.plan import BatchProfile, EngineOptions
from qatkit.errors import EnvironmentProblem, UsageError
from qatkit.export.onnx_model import with_batch
from qatkit.workflow.convert import convert
from tests.support.exported import exported
from tests.support.networks import residual


@pytest.mark.parametrize("text", ["", "3", "3,544", "3,544,960,1", "3,x,960", "3,0,960", "-3,544,960", "3, 544,960"])
def test_dims_of_another_form(text: str) -> None:
    with pytest.raises(UsageError, match="expected channels,height,width"):
        parse_dims(text)


def test_dims() -> None:
    assert parse_dims("3,544,960") == (3, 544, 960)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected input,min,opt,max"),
        ("input_1", "expected input,min,opt,max"),
        ("input_1,1x3x4x4,1x3x4x4", "expected input,min,opt,max"),
        (",1x3x4x4,1x3x4x4,1x3x4x4", "expected input,min,opt,max"),
        ("input_1,1x3x4x4,1x3x4x4,1x3x4", "expected input,min,opt,max"),
        ("input_1,0x3x4x4,1x3x4x4,1x3x4x4", "expected input,min,opt,max"),
        ("input_1,1x3x4x4,1x3x8x4,1x3x4x4", "only the batch size can differ"),
        ("input_1,4x3x4x4,1x3x4x4,8x3x4x4", "expected 1 <= min <= opt <= max"),
    ],
)
def test_profiles_of_another_form(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_profile(text)


SIZES = st.integers(1, 4096)


@given(st.sampled_from(["input_1", "input_1:0"]), st.tuples(SIZES, SIZES, SIZES).map(sorted), SIZES, SIZES, SIZES)
def test_profiles(name: str, batch: list[int], channels: int, height: int, width: int) -> None:
    shapes = [f"{size}x{channels}x{height}x{width}" for size in batch]
    assert parse_profile(",".join([name, *shapes])) == (name, BatchProfile(*batch), (channels, height, width))


@pytest.fixture
def clean() -> OnnxFile:
    return exported(residual(projection=True)).clean_file


OUTPUTS = ("output_cov/Sigmoid", "output_bbox/BiasAdd")


@pytest.mark.parametrize(
    "expected",
    [
        Expected(),
        Expected((3, 16, 24), "input_1", OUTPUTS),
        Expected(None, "input_1:0", ("output_bbox/BiasAdd:0", "output_cov/Sigmoid:0")),
    ],
)
def test_the_network_that_is_expected(expected: Expected, clean: OnnxFile) -> None:
    check_network(clean, [Expected(), expected])


@pytest.mark.parametrize(
    "expected, message",
    [
        (Expected((3, 24, 16)), "takes images 3,16,24, not 3,24,16"),
        (Expected(input="Input"), "its input is input_1:0, not Input"),
        (Expected(outputs=("NMS",)), "its outputs are output_cov/Sigmoid:0,output_bbox/BiasAdd:0, not NMS"),
        (Expected(outputs=OUTPUTS[:1]), "not output_cov/Sigmoid$"),
    ],
)
def test_another_network(expected: Expected, message: str, clean: OnnxFile) -> None:
    with pytest.raises(UsageError, match=message):
        check_network(clean, [Expected(), expected])


@pytest.mark.parametrize("batches, wrong", [((), None), ((4,), None), ((4, 4, 4), None), ((16,), 16), ((1, 4, 4), 1)])
def test_a_network_with_a_fixed_batch(batches: tuple[int, ...], wrong: int | None, clean: OnnxFile) -> None:
    fixed = OnnxFile.of(with_batch(clean.proto, 4), clean.path)
    check_network(clean, [Expected(batches=batches)])
    if wrong is None:
        check_network(fixed, [Expected(batches=batches)])
        return
    with pytest.raises(UsageError, match=rf"model\.onnx takes exactly 4 images at once, not {wrong}"):
        check_network(fixed, [Expected(), Expected(batches=batches)])


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_nothing_is_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="TensorRT is not installed here"):
        convert(tmp_path / "none.onnx", tmp_path / "model.engine", EngineOptions())
    assert not list(tmp_path.iterdir())
