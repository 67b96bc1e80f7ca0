"""The content of a result.json, small, with names that would break a careless page."""

from __future__ import annotations

from typing import Any

EVIL = '<b onload="x">&"$a_1$人'
CAR = "car"


def row(name: str, precision: str, value: float, **changes: Any) -> dict[str, Any]:
    base = {
        "name": name,
        "precision": precision,
        "engine": "onnxruntime",
        "map": value,
        "ap": {CAR: value + 0.125, EVIL: None},
        "fps": 12.345678,
        "size_bytes": 1234567,
        "params": 300_001,
        "macs": 400_000_007,
    }
    return base | changes


def tensor(layer: str, sqnr: float, *, cause: str = "", is_output: bool = False) -> dict[str, Any]:
    own = dict.fromkeys(("own_sqnr_db", "channel_sqnr_db", "saturation", "clipping", "amax"))
    if not is_output:
        own = {
            "own_sqnr_db": sqnr + 1.5,
            "channel_sqnr_db": sqnr,
            "saturation": 0.00125,
            "clipping": 0.5,
            "amax": 6.5,
        }
    peaks = {"percentile": 5.25, "peak": 7.75}
    return {"layer": layer, "tensor": f"{layer}/Relu:0", "sqnr_db": sqnr, **own, **peaks, "cause": cause}


def layer_entry(model: str, precision: str, *tensors: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "precision": precision, "images": 16, "tensors": list(tensors)}


def cost(layer: str, drop: float) -> dict[str, Any]:
    return {"layer": layer, "map": 80.0 - drop, "drop": drop, "cov_sqnr_db": 21.625}


def sensitivity_entry(model: str, precision: str, *skip: str) -> dict[str, Any]:
    return {
        **{"model": model, "precision": precision, "images": 32, "fp32_map": 80.0, "int8_map": 61.0},
        **{"layers": [cost("conv1", 18.5), cost("conv2", -0.25)]},
        **{"skip": list(skip), "skip_map": 79.625 if skip else None},
    }


def report() -> dict[str, Any]:
    """One float model, its PTQ that lost much, and a QAT model that lost little."""
    return {
        "models": [
            row(EVIL, "fp32", 80.03125, fps=10.0, size_bytes=4_000_000),
            row(EVIL, "int8-ptq", 60.15625, fps=25.0, size_bytes=1_000_000),
            row("qat", "int8-qat", 79.71875, fps=20.0, size_bytes=1_000_000),
        ],
        "dataset": {"images": 7, "boxes": 21},
        "environment": {"qatkit": "0.1.0", "processor": EVIL},
        "layers": [
            layer_entry(EVIL, "int8-ptq", tensor("a", 9.875, cause="range too small: clips"), tensor("b", 3.5)),
            layer_entry("qat", "int8-qat", tensor("a", 30.5), tensor("output_cov", 33.25, is_output=True)),
        ],
        "sensitivity": [sensitivity_entry(EVIL, "int8-ptq", "conv1"), sensitivity_entry("qat", "int8-qat")],
    }
