"""Exports that take a fixed number of images at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal

from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.errors import UsageError
from qatkit.export.calibrate import calibrate
from qatkit.export.export import ExportReport, export
from qatkit.export.half_precision import to_float16
from qatkit.export.onnx_model import with_batch
from tests.support.models import float_model, images_of, options, qat_model

BATCH = 4


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportReport, ExportReport]:
    """The exports of one model, for any batch and for batches of four."""
    model, folder = qat_model(), tmp_path_factory.mktemp("batch")
    found = [
        export(
            model, folder / name / "model.onnx", options(folder / name, static_batch_size=size), [images_of(model)]
        )
        for name, size in (("any", 0), ("fixed", BATCH))
    ]
    return found[0], found[1]


def batches(path: Path) -> list[object]:
    """The first dimension of the input and of the outputs of a file."""
    graph = onnx.load(path).graph
    found = [value.type.tensor_type.shape.dim[0] for value in (*graph.input, *graph.output)]
    return [dimension.dim_value or dimension.dim_param for dimension in found]


def test_only_the_batch_in_the_files_differs(reports: tuple[ExportReport, ExportReport]) -> None:
    free, fixed = reports
    for one, other in ((free.onnx, fixed.onnx), (free.qdq, fixed.qdq)):
        assert one is not None and other is not None
        assert batches(one) == ["N"] * 3
        assert batches(other) == [BATCH] * 3
        assert (OnnxFile.read(one).batch, OnnxFile.read(other).batch) == (0, BATCH)
        assert with_batch(onnx.load(other), 0).SerializeToString() == one.read_bytes()
        onnx.checker.check_model(onnx.load(other), full_check=True)
    assert free.cache is not None and fixed.cache is not None
    assert free.cache.read_bytes() == fixed.cache.read_bytes()


@pytest.mark.parametrize("count", [1, 4, 5, 8])
@pytest.mark.parametrize("form", ["float", "cache", "qdq"])
def test_any_number_of_images_gives_the_outputs_of_the_dynamic_file(
    reports: tuple[ExportReport, ExportReport], form: str, count: int
) -> None:
    engines = [
        open_onnx(
            report.qdq if form == "qdq" and report.qdq else report.onnx, report.cache if form == "cache" else None
        )
        for report in reports
    ]
    images = images_of(qat_model(), count)
    for one, other in zip(*(engine.predict(images) for engine in engines)):
        assert len(other) == count
        assert_array_equal(one, other)


def test_a_fixed_file_is_calibrated_and_halved_too(reports: tuple[ExportReport, ExportReport]) -> None:
    free, fixed = (onnx.load(report.onnx) for report in reports)
    images = [images_of(qat_model())]
    assert calibrate(fixed, images, "minmax") == calibrate(free, images, "minmax")
    assert to_float16(fixed).graph.input[0].type.tensor_type.shape.dim[0].dim_value == BATCH


def test_a_float_export_has_a_fixed_batch_too(tmp_path: Path) -> None:
    export(float_model(), tmp_path / "model.onnx", options(tmp_path, data_type="fp32", static_batch_size=1))
    assert batches(tmp_path / "model.onnx") == [1] * 3


def test_a_batch_below_nothing() -> None:
    with pytest.raises(UsageError, match="a fixed batch of -4 images"):
        options(Path(), static_batch_size=-4)


def test_other_exporters_write_minus_one_for_any_batch(reports: tuple[ExportReport, ExportReport]) -> None:
    model = onnx.load(reports[0].onnx)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    file = OnnxFile.of(model, Path("model.onnx"))
    assert file.batch == 0
    assert np.shape(open_onnx(file).predict(images_of(qat_model(), 5))[0])[0] == 5
