"""Mixed precision where it is quicker: every machine is described here, none is looked at."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from qatkit.choices import WantedPrecision
from qatkit.processor import Processor
from qatkit.training.precision import Machine, Precision, Quickest, choose, quickest, this_machine

FLAGS = frozenset({"sse2", "avx2"})
AVX2 = Processor("EPYC 7003", FLAGS)
AVX512 = Processor("Xeon 8280", FLAGS | {"avx512f", "avx512_vnni"})
ZEN4 = Processor("EPYC 9004", FLAGS | {"avx512f", "avx512_bf16"})
AMX = Processor("Xeon 8480", FLAGS | {"avx512_bf16", "amx_tile", "amx_bf16"})
GRAVITON = Processor("Neoverse-V1", frozenset({"asimd", "bf16", "i8mm"}))
MAC = Processor("arm")


@pytest.mark.parametrize(
    "machine, precision, reason",
    [
        (Machine(AVX2), "float32", "EPYC 7003 has no instructions for bfloat16"),
        (Machine(AVX512), "float32", "Xeon 8280 has no instructions"),  # oneDNN emulates it
        (Machine(ZEN4), "mixed", "EPYC 9004 has instructions"),
        (Machine(AMX), "mixed", "Xeon 8480 has instructions"),
        (Machine(AMX, onednn=False), "float32", "TF_ENABLE_ONEDNN_OPTS"),
        (Machine(AVX2, onednn=False), "float32", "no instructions"),
        (Machine(GRAVITON), "float32", "not been measured on Neoverse-V1"),
        (Machine(MAC), "float32", "nothing tells whether arm is quick"),
        (Machine(AVX2, ((8, 0),)), "mixed", "compute capability 8.0, is quick"),
        (Machine(AVX2, ((9, 0),), onednn=False), "mixed", "compute capability 9.0, is quick"),
        (Machine(AVX2, ((10, 0), (12, 0))), "mixed", "compute capability 10.0, is quick"),
        (Machine(AMX, ((7, 5),)), "float32", "compute capability 7.5, has no bfloat16"),
        (Machine(AMX, ((9, 0), (7, 0))), "float32", "compute capability 7.0"),
        (Machine(AMX, (None,)), "float32", "does not tell"),
        (Machine(AMX, ((9, 0), None)), "float32", "does not tell"),
    ],
)
def test_what_is_quicker(machine: Machine, precision: Precision, reason: str) -> None:
    best = quickest(machine)
    assert best.precision == precision
    assert reason in best.reason


SLOW, QUICK = Quickest("float32", "EPYC has none"), Quickest("mixed", "AMX")


@pytest.mark.parametrize(
    "wanted, best, kept, precision, out, err",
    [
        ("auto", SLOW, None, "float32", "Training in float32: EPYC has none.\n", ""),
        ("auto", QUICK, None, "mixed", "Training in mixed precision (bfloat16): AMX.\n", ""),
        ("auto", QUICK, "mixed", "mixed", "(bfloat16), as the checkpoint that is continued.\n", ""),
        ("auto", SLOW, "float32", "float32", "Training in float32, as the checkpoint that is continued.\n", ""),
        ("auto", SLOW, "mixed", "mixed", "is continued, though float32 is quicker here (EPYC has none).\n", ""),
        ("auto", QUICK, "float32", "float32", "though mixed precision (bfloat16) is quicker here (AMX).\n", ""),
        ("mixed", QUICK, None, "mixed", "", ""),
        ("mixed", SLOW, None, "mixed", "", "warning: --flag: mixed precision can be many times slower here than"),
        ("mixed", SLOW, "mixed", "mixed", "", "float32: EPYC has none\n"),
        ("float32", QUICK, None, "float32", "", ""),
    ],
)
def test_choice(
    wanted: WantedPrecision,
    best: Quickest,
    kept: Precision | None,
    precision: Precision,
    out: str,
    err: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert choose(wanted, best, kept, "--flag") == precision
    written = capsys.readouterr()
    for text, part in ((written.out, out), (written.err, err)):
        assert part in text and bool(part) == bool(text)
        assert text.count("\n") <= 1


def test_the_gpus_that_are_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    details: dict[str, dict[str, Any]] = {"a": {"compute_capability": (9, 0)}, "b": {"device_name": "unknown"}}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(details) if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)
    assert this_machine(1).gpus == ((9, 0),)
    assert this_machine(2).gpus == ((9, 0), None)


@pytest.mark.parametrize("value, on", [(None, True), ("1", True), ("0", False), ("False", False)])
def test_onednn(value: str | None, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", value)
    assert this_machine(1).onednn is on
