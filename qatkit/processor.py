"""The processor that this runs on: its name and the instructions it knows."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_NAMES = ("model name", "Model", "Hardware")  # x86; ARM boards
_FEATURES = ("flags", "Features")  # x86, ARM


@dataclass(frozen=True)
class Processor:
    """features: as Linux names them (`avx2`, `avx512_bf16`); None where nothing tells."""

    name: str
    features: frozenset[str] | None = None


def this_processor() -> Processor:
    """What Linux tells of the processor; elsewhere only a name."""
    try:
        return parse_cpuinfo(_CPUINFO.read_text(errors="replace"))
    except OSError:
        return Processor(_plain_name())


def parse_cpuinfo(text: str) -> Processor:
    """The first processor of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    name = next((fields[key] for key in _NAMES if fields.get(key)), _plain_name())
    features = next((fields[key] for key in _FEATURES if key in fields), None)
    return Processor(name, None if features is None else frozenset(features.split()))


def _plain_name() -> str:
    return platform.processor() or platform.machine() or "this processor"
