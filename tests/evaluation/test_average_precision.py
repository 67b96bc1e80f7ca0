"""Average precision of ranked lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatkit.evaluation.average_precision import ApMode, average_precision, precision_recall

SAMPLE, INTEGRATE = ApMode.SAMPLE, ApMode.INTEGRATE


def ranked(text: str) -> np.ndarray:
    """ "TF" -> right, wrong."""
    return np.array([letter == "T" for letter in text], bool)


@pytest.mark.parametrize(
    "found, truths, sample, area, tao_area",
    [
        pytest.param("", 3, 0, 0, 0, id="nothing found"),
        pytest.param("FF", 3, 0, 0, 0, id="all wrong"),
        pytest.param("T", 1, 1, 1, 0, id="one, found"),
        pytest.param("TTTT", 4, 1, 1, 0.75, id="perfect"),
        pytest.param("TTFFF", 2, 1, 1, 0.5, id="the rest is wrong"),
        pytest.param("FT", 1, 0.5, 0.5, 0, id="second"),
        pytest.param("TTFT", 4, (6 + 0.75 * 2) / 11, 0.5 + 0.25 * 0.75, 0.5, id="one missed"),
        pytest.param("FTT", 2, 2 / 3, 2 / 3, 0.5 * 0.5 + 0.5 * 0.5, id="rising precision is levelled"),
    ],
)
def test_table(found: str, truths: int, sample: float, area: float, tao_area: float) -> None:
    right = ranked(found)
    assert average_precision(right, truths, SAMPLE) == pytest.approx(sample)
    assert average_precision(right, truths, SAMPLE, tao_formulas=True) == pytest.approx(sample)
    assert average_precision(right, truths, INTEGRATE) == pytest.approx(area)
    assert average_precision(right, truths, INTEGRATE, tao_formulas=True) == pytest.approx(tao_area)


def test_sampled_value_of_the_reference() -> None:
    assert average_precision(ranked("TTFT"), 4, SAMPLE) == pytest.approx(0.681818, abs=1e-6)


@pytest.mark.parametrize("mode", ApMode)
@pytest.mark.parametrize("found", ["", "FFF"])
def test_class_without_objects(mode: ApMode, found: str) -> None:
    assert average_precision(ranked(found), 0, mode) is None
    assert average_precision(ranked(found), 0, mode, tao_formulas=True) == 0


def test_precision_recall() -> None:
    curve = precision_recall(ranked("TFT"), 4)
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.recall, [0.25, 0.25, 0.5])


@given(
    st.lists(st.booleans(), max_size=60),
    st.integers(0, 30),
    st.sampled_from(ApMode),
    st.booleans(),
)
def test_lies_between_zero_and_one(found: list[bool], missed: int, mode: ApMode, tao_formulas: bool) -> None:
    right = np.array(found, bool)
    ap = average_precision(right, int(right.sum()) + missed, mode, tao_formulas=tao_formulas)
    assert ap is None or 0 <= ap <= 1 + 1e-12
