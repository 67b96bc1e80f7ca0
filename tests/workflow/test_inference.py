"""What inference makes of its spec before a network runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatkit.errors import SpecError
from qatkit.spec import Inference
from qatkit.workflow.inference import model_of
from tests.support.specs import INFERENCE, edited


@pytest.mark.parametrize("block, field", [("tlt_config", "model"), ("tensorrt_config", "trt_engine")])
def test_variables_in_the_name_of_the_model(block: str, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = edited(Inference, INFERENCE, f'inferencer_config.{block} = {{{field}: "${{MODELS}}/a.tlt"}}')
    monkeypatch.setenv("MODELS", "/models")
    assert model_of(spec) == Path("/models/a.tlt")
    monkeypatch.delenv("MODELS")
    with pytest.raises(SpecError, match=r"\$MODELS is not set"):
        model_of(spec)
