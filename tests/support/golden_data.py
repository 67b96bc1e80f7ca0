"""Reference vectors: `tests/golden` by default, or any folder of the same schema named in QATKIT_GOLDEN."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(os.environ.get("QATKIT_GOLDEN") or Path(__file__).parents[1] / "golden")


@cache
def cases(topic: str) -> list[dict[str, Any]]:
    """The cases of `topic`, each a dictionary with an `id`; empty where the folder has no such topic."""
    path = ROOT / topic / "cases.json"
    return json.loads(path.read_text()) if path.exists() else []


@cache
def _archive(topic: str) -> dict[str, NDArray[Any]]:
    with np.load(ROOT / topic / "arrays.npz") as archive:
        return dict(archive)


def array(topic: str, case: dict[str, Any], name: str) -> NDArray[Any]:
    """Array `name` of `case`."""
    return _archive(topic)[f"{case['id']}.{name}"]


def params(topic: str, chosen: Iterable[dict[str, Any]], *, compat: bool = False) -> list[Any]:
    """`chosen` cases of `topic` as parameters of a test, marked so that the end of a run can count them.

    compat: the test holds the original's behaviour behind its switch, where the default differs on purpose.
    """
    return [
        pytest.param(case, id=case["id"], marks=pytest.mark.golden(topic, case["id"], compat=compat))
        for case in chosen
    ]


def parametrize(topic: str, *prefixes: str, needs: str = "", compat: bool = False) -> pytest.MarkDecorator:
    """Parametrize a test over the cases of `topic` whose id starts with one of `prefixes` (all without any).

    needs: an array that must be stored; `tests/golden` leaves out what is large. compat: as of `params`.
    """
    chosen = [case for case in cases(topic) if not prefixes or case["id"].startswith(prefixes)]
    if needs:
        chosen = [case for case in chosen if f"{case['id']}.{needs}" in _archive(topic)]
    return pytest.mark.parametrize("case", params(topic, chosen, compat=compat))
