"""The rows of result.json's "models" for people: their names, and the FP32 row that each is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

FLOAT = "fp32"
# A loss of mAP up to this is what QAT is expected to stay within.
SMALL_LOSS = 1.0
_PRECISIONS = {FLOAT: "FP32", "int8-ptq": "INT8 PTQ", "int8-qat": "INT8 QAT"}


def precision(row: Row) -> str:
    """`int8-ptq` -> `INT8 PTQ`."""
    return _PRECISIONS.get(row["precision"], str(row["precision"]))


def title(row: Row) -> str:
    """`pruned, INT8 PTQ`. row: of "models", or an entry of "layers" or "sensitivity" that names its model."""
    return f"{row.get('name', row.get('model'))}, {precision(row)}"


def reference_of(rows: Sequence[Row], row: Row) -> Row | None:
    """The FP32 row that `row` comes from: of the same model, else of a network of the same size, else the best.

    The last of the same size: the float model that quantization-aware training started with has its size. None where
    no row is FP32; an FP32 row is its own.
    """
    floats = [one for one in rows if one["precision"] == FLOAT]
    of_model = [one for one in floats if one["name"] == row["name"]]
    of_size = [one for one in floats if (one["params"], one["macs"]) == (row["params"], row["macs"])]
    if of_model or of_size:
        return (of_model or of_size)[-1]
    return max(floats, key=lambda one: one["map"], default=None)
