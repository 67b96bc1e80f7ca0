"""What is known of an ONNX file once it was read."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from qatkit.detectnet.labels import Labels
from qatkit.engine.onnx_file import OnnxFile
from qatkit.errors import ModelError, UsageError
from qatkit.export.cache import from_ranges, write_cache
from tests.support.exported import METADATA, OUTPUTS, exported
from tests.support.networks import residual


def test_a_file_says_all_of_itself(tmp_path: Path) -> None:
    export = exported(residual(projection=True))
    onnx.save(export.qdq, tmp_path / "model.onnx")
    read, held = OnnxFile.read(tmp_path / "model.onnx"), OnnxFile.of(export.qdq, tmp_path / "model.onnx")
    for file in (read, held):
        assert (file.input_shape, file.heads, file.metadata) == ((16, 24, 3), OUTPUTS, METADATA)
        assert (file.has_qdq, file.int8_precision) == (True, "int8-ptq")
        assert file.info(Labels(("a", "b"), 1.0)).labels == METADATA.labels
    assert not export.clean_file.has_qdq


def test_a_file_without_metadata_needs_labels() -> None:
    export = exported(residual(projection=True))
    del export.clean.metadata_props[:]
    with pytest.raises(UsageError, match=r"model\.onnx does not say what its classes are"):
        export.clean_file.info(None)
    assert export.clean_file.info(Labels(("a", "b"), 1.0)).labels == Labels(("a", "b"), 1.0)


def test_images_of_any_size_are_refused() -> None:
    export = exported(residual(projection=True))
    export.clean.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(ModelError, match="the size of its images is not fixed"):
        _ = export.clean_file


def test_names_that_the_network_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = exported(residual(projection=True)).clean_file
    scales = from_ranges({"input_1:0": 1.0, "elsewhere:0": 1.0})
    write_cache(tmp_path / "cal.bin", scales, list(scales.scales))
    assert set(file.scales(tmp_path / "cal.bin")) == {"input_1:0", "elsewhere:0"}
    assert "1 of 2 names are no tensors of the network, such as elsewhere:0" in " ".join(
        "".join(capsys.readouterr()).split()
    )
