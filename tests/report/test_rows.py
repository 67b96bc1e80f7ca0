"""Names of rows, and what they are measured against."""

from __future__ import annotations

from typing import Any

import pytest

from qatkit.report.rows import reference_of, title
from tests.support.report_content import layer_entry, row

BIG, SMALL = {"params": 10, "macs": 10}, {"params": 5, "macs": 5}


def test_title() -> None:
    assert title(row("a", "fp32", 1.0)) == "a, FP32"
    assert title(layer_entry("b", "int8-ptq")) == "b, INT8 PTQ"
    assert title(row("a", "fp16", 1.0)) == "a, fp16"


@pytest.mark.parametrize(
    "rows, expected",
    [
        pytest.param([row("q", "int8-qat", 1.0)], None, id="no float model"),
        pytest.param(
            [row("q", "fp32", 1.0, **BIG), row("p", "fp32", 2.0), row("q", "int8-ptq", 1.0)], 0, id="its own"
        ),
        pytest.param(
            [row("a", "fp32", 9.0, **BIG), row("b", "fp32", 1.0, **SMALL), row("q", "int8-qat", 1.0, **SMALL)],
            1,
            id="of its size",
        ),
        pytest.param(
            [row("a", "fp32", 1.0, **BIG), row("b", "fp32", 9.0, **BIG), row("q", "int8-qat", 1.0, **SMALL)],
            1,
            id="the best",
        ),
        pytest.param([row("a", "fp32", 1.0), row("b", "fp32", 0.5)], 1, id="itself"),
    ],
)
def test_reference(rows: list[dict[str, Any]], expected: int | None) -> None:
    assert reference_of(rows, rows[-1]) is (None if expected is None else rows[expected])
