"""Engines by the TensorRT that is installed, against ONNX Runtime. Skipped without it or without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.engine.tensorrt.build import build_engine
from qatkit.engine.tensorrt.library import load_tensorrt
from qatkit.engine.tensorrt.plan import STRONG_TYPING_ONLY, BatchProfile, EngineOptions
from qatkit.engine.tensorrt.run import TensorRTEngine, open_tensorrt
from qatkit.engine.tensorrt.sidecar import sidecar_path
from qatkit.errors import EnvironmentProblem, ModelError, UsageError
from qatkit.export.cache import from_ranges, write_cache
from qatkit.export.onnx_model import with_batch
from tests.support.exported import Exported, exported, images_for
from tests.support.networks import residual
from tests.support.tensorrt_data import skip_without_tensorrt

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _tensorrt() -> None:
    skip_without_tensorrt()


@pytest.fixture
def export(tmp_path: Path) -> Exported:
    """The files of a residual network, in `tmp_path`: model.onnx, model.qdq.onnx, cal.bin."""
    export = exported(residual(projection=True))
    onnx.save(export.clean, tmp_path / "model.onnx")
    onnx.save(export.qdq, tmp_path / "model.qdq.onnx")
    ranges = export.tensor_ranges()
    write_cache(tmp_path / "cal.bin", from_ranges(ranges), list(ranges))
    return export


def built(folder: Path, name: str, options: EngineOptions, cache: str = "") -> TensorRTEngine:
    engine = folder / "model.engine"
    build_engine(OnnxFile.read(folder / name), engine, options, folder / cache if cache else None)
    return open_tensorrt(engine)


def largest_difference(one: tuple[np.ndarray, ...], two: tuple[np.ndarray, ...]) -> float:
    """Of both outputs, relative to their largest magnitude."""
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(one, two))


# TF32 and FP16 round to 11 bits; a code of a 7-bit range is 0.8 %.
@pytest.mark.parametrize("data_type, tolerance", [("fp32", 0.01), ("fp16", 0.02)])
def test_a_float_engine_computes_the_network(
    data_type: Any, tolerance: float, export: Exported, tmp_path: Path
) -> None:
    engine = built(tmp_path, "model.onnx", EngineOptions(data_type))
    assert (engine.name, engine.precision, engine.info) == ("tensorrt", data_type, export.info)
    images = images_for(export.graph)
    expected = open_onnx(tmp_path / "model.onnx").predict(images)
    assert largest_difference(expected, engine.predict(images)) < tolerance


def test_an_int8_engine_of_the_qdq_file(export: Exported, tmp_path: Path) -> None:
    engine = built(tmp_path, "model.qdq.onnx", EngineOptions("int8"))
    assert engine.precision == "int8-ptq"
    images = images_for(export.graph)
    expected = open_onnx(tmp_path / "model.qdq.onnx").predict(images)
    assert largest_difference(expected, engine.predict(images)) < 0.05


@pytest.mark.parametrize("strict", [False, True])
def test_an_int8_engine_of_the_clean_file_and_its_cache(strict: bool, export: Exported, tmp_path: Path) -> None:
    options = EngineOptions("int8", strict=strict)
    if load_tensorrt()[1] >= STRONG_TYPING_ONLY:
        with pytest.raises(UsageError, match="reads no calibration caches"):
            built(tmp_path, "model.onnx", options, "cal.bin")
        return
    engine = built(tmp_path, "model.onnx", options, "cal.bin")
    images = images_for(export.graph)
    expected = open_onnx(tmp_path / "model.onnx", cal_cache=tmp_path / "cal.bin").predict(images)
    assert largest_difference(expected, engine.predict(images)) < 0.05


def test_batches_that_are_too_large_are_split_and_too_small_ones_filled(export: Exported, tmp_path: Path) -> None:
    engine = built(tmp_path, "model.onnx", EngineOptions(batch=BatchProfile(2, 4, 4)))
    images = images_for(export.graph, 9)
    cov, bbox = engine.predict(images)
    assert (len(cov), len(bbox)) == (9, 9)
    expected = open_onnx(tmp_path / "model.onnx").predict(images)
    assert largest_difference(expected, (cov, bbox)) < 0.01


def test_a_fixed_batch_needs_no_profile(export: Exported, tmp_path: Path) -> None:
    onnx.save(with_batch(export.clean, 4), tmp_path / "fixed.onnx")
    images = images_for(export.graph, 5)
    expected = open_onnx(tmp_path / "model.onnx").predict(images)
    assert largest_difference(expected, built(tmp_path, "fixed.onnx", EngineOptions()).predict(images)) < 0.01


def test_a_dla_that_is_not_there_is_an_error(export: Exported, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"--dla_core 99: TensorRT .* DLA cores here"):
        built(tmp_path, "model.onnx", EngineOptions("fp16", dla_core=99))
    assert not (tmp_path / "model.engine").exists()


def test_what_is_no_engine_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"no engine")
    with pytest.raises(ModelError, match="cannot read this engine"):
        open_tensorrt(tmp_path / "model.engine")


def test_an_engine_without_a_card_needs_the_spec(export: Exported, tmp_path: Path) -> None:
    built(tmp_path, "model.onnx", EngineOptions())
    sidecar_path(tmp_path / "model.engine").unlink()
    with pytest.raises(UsageError, match="give the training spec with -e"):
        open_tensorrt(tmp_path / "model.engine")
