"""What is read from /proc/cpuinfo."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from qatkit import processor
from qatkit.processor import Processor, parse_cpuinfo, this_processor

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse2 avx2
power management:

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd bf16
CPU implementer\t: 0x41
"""


@pytest.mark.parametrize(
    "text, name, features",
    [
        ("", "plain", None),
        (X86, "AMD EPYC", {"fpu", "sse2", "avx2"}),
        (ARM, "plain", {"fp", "asimd", "bf16"}),
        (ARM + "Model\t: Raspberry Pi 5\n", "Raspberry Pi 5", {"fp", "asimd", "bf16"}),
        ("model name : x\nflags :\n", "x", set()),
    ],
)
def test_cpuinfo(text: str, name: str, features: set[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "plain")
    assert parse_cpuinfo(text) == Processor(name, None if features is None else frozenset(features))


def test_a_system_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert this_processor() == Processor("arm64")
