"""What TensorFlow is told before it is imported."""

from __future__ import annotations

import pytest

from qatkit.processor import Processor
from qatkit.startup import settings


@pytest.mark.parametrize(
    "features, onednn",
    [
        (None, None),
        (frozenset(), None),
        (frozenset({"sse2", "avx"}), None),
        (frozenset({"asimd", "bf16"}), None),  # ARM
        (frozenset({"sse2", "avx2"}), "1"),
        (frozenset({"sse2", "avx2", "avx512_vnni", "amx_bf16"}), "1"),
    ],
)
def test_onednn(features: frozenset[str] | None, onednn: str | None) -> None:
    found = settings(Processor("a processor", features))
    assert found.get("TF_ENABLE_ONEDNN_OPTS") == onednn
    assert found["TF_USE_LEGACY_KERAS"] == "1"
