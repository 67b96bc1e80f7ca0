"""What lies beside a TensorRT engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.engine.tensorrt.sidecar import EngineSidecar, fingerprint
from qatkit.errors import ModelError
from qatkit.export.metadata import Metadata

CONTENT = b"an engine"
CARD = EngineSidecar(
    precision="int8-qat",
    outputs=("output_cov/Sigmoid:0", "output_bbox/BiasAdd:0"),
    onnx="model.qdq.onnx",
    tensorrt="10.13.3",
    dla_core=None,
    metadata=Metadata(Labels(("car", "person")), 16, "tensorrt"),
    sha256=fingerprint(CONTENT),
)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(CONTENT)
    return path


def test_an_engine_without_a_sidecar(engine: Path) -> None:
    assert EngineSidecar.read(engine, CONTENT) is None


@pytest.mark.parametrize("sidecar", [CARD, replace(CARD, metadata=None, dla_core=1, precision="fp16")])
def test_a_card_is_read_as_it_was_written(sidecar: EngineSidecar, engine: Path) -> None:
    assert sidecar.write(engine) == engine.parent / "model.engine.json"
    assert EngineSidecar.read(engine, CONTENT) == sidecar


def test_the_card_of_an_engine_that_was_replaced_is_refused(engine: Path) -> None:
    CARD.write(engine)
    with pytest.raises(ModelError, match=r"model\.engine\.json: belongs to another model\.engine"):
        EngineSidecar.read(engine, b"another engine")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"outputs": ["a"], "metadata": None}),
        json.dumps({"outputs": ["a", "b"], "metadata": {"classes": 3}}),
    ],
)
def test_a_damaged_card_is_refused(text: str, engine: Path) -> None:
    (engine.parent / "model.engine.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.engine\.json: damaged"):
        EngineSidecar.read(engine, CONTENT)
