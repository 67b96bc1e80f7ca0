"""What a build asks of TensorRT, with a stand-in that writes down the calls; `test_run.py` builds with a real one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.tensorrt.build import build_engine
from qatkit.engine.tensorrt.plan import BatchProfile, EngineOptions
from qatkit.export.cache import from_ranges, write_cache
from qatkit.export.onnx_model import with_batch
from tests.support.exported import exported
from tests.support.networks import residual

SIZES = EngineOptions("int8", batch=BatchProfile(1, 4, 8))


class Recorder:
    """The parts of the module tensorrt 8.6.1 that a build uses. profiles: batch sizes of each that was added."""

    def __init__(self) -> None:
        self.profiles: list[tuple[int, ...]] = []
        self.calibrated: list[tuple[int, ...]] = []
        self.cache = b""
        flags = SimpleNamespace(EXPLICIT_BATCH=0, INT8=1, FP16=2)
        self.NetworkDefinitionCreationFlag = self.BuilderFlag = flags
        self.MemoryPoolType = SimpleNamespace(WORKSPACE=0)
        self.ILogger = type("ILogger", (), {})
        self.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (), {})
        self.Builder = lambda log: self._builder()

    def _builder(self) -> Any:
        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(get_input=lambda index: self.input),
            create_builder_config=lambda: SimpleNamespace(
                set_memory_pool_limit=lambda pool, size: None,
                set_flag=lambda flag: None,
                add_optimization_profile=lambda profile: self.profiles.append(profile.sizes),
                set_calibration_profile=lambda profile: self.calibrated.append(profile.sizes),
            ),
            create_optimization_profile=Profile,
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network: Any, log: Any) -> Any:  # noqa: N802 - TensorRT's name
        return SimpleNamespace(parse=self._parse)

    def _parse(self, content: bytes, path: str) -> bool:
        source = onnx.load_model_from_string(content).graph.input[0]
        dims = tuple(item.dim_value or -1 for item in source.type.tensor_type.shape.dim)
        self.input = SimpleNamespace(name=source.name, shape=dims)
        return True

    def _build(self, network: Any, config: Any) -> bytes:
        self.cache = config.int8_calibrator.read_calibration_cache()
        return b"an engine"


class Profile:
    """An optimization profile."""

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert {shape[1:] for shape in shapes} == {(3, 16, 24)}
        self.sizes = tuple(shape[0] for shape in shapes)


def build(folder: Path, monkeypatch: pytest.MonkeyPatch, batch: int, odd: str = "") -> Recorder:
    """Build INT8 from a file that takes `batch` images at once. odd: a line more in its cache."""
    trt, export = Recorder(), exported(residual(projection=True))
    monkeypatch.setattr("qatkit.engine.tensorrt.build.load_tensorrt", lambda: (trt, (8, 6, 1)))
    onnx.save(with_batch(export.clean, batch), folder / "model.onnx")
    ranges = export.tensor_ranges()
    write_cache(folder / "cal.bin", from_ranges(ranges), list(ranges))
    with (folder / "cal.bin").open("a") as file:
        file.write(odd)
    build_engine(OnnxFile.read(folder / "model.onnx"), folder / "model.engine", SIZES, folder / "cal.bin")
    return trt


def test_a_network_for_any_batch_has_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = build(tmp_path, monkeypatch, 0)
    assert (trt.profiles, trt.calibrated) == ([(1, 4, 8)], [(4, 4, 4)])


def test_a_network_with_a_fixed_batch_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = build(tmp_path, monkeypatch, 4)
    assert (trt.input.shape, trt.profiles, trt.calibrated) == ((4, 3, 16, 24), [], [])


def test_a_line_that_gives_no_scale_is_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorRT 8.5 and newer stop at a scale of 0 that they need."""
    trt = build(tmp_path, monkeypatch, 0, "b_bn/batchnorm/add_1:0: 0\n")
    assert b"\nstem_relu/Relu:0: " in trt.cache and b"b_bn/" not in trt.cache
    told = capsys.readouterr().err
    assert "1 of 6 scales is 0; line 7: scale 0 of b_bn/batchnorm/add_1:0" in told
    assert "7 of 12 tensors have no scale" in told
