"""Integer sums with a bias in float, for an operation whose bias is an integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qatkit.engine.int8.bias import NEGLIGIBLE, IntegerSums, integer_sums

CODES = np.full((1, 4, 3, 3), 100, np.int8)


def result(sums: IntegerSums, products: float) -> float:
    """What the operation makes of a sum of products, before it rounds; without the shift."""
    return float((products + sums.bias[0]) * sums.step[0].astype(np.float64) - sums.shift[0])


def one_channel(step: float, bias: float, limit: int = 127, codes: np.ndarray = CODES) -> IntegerSums | None:
    return integer_sums(codes, np.array([step]), np.array([bias]), limit)


@pytest.mark.parametrize("bias", [0.0, 3 * 2.0**-8, -100 * 2.0**-8])
def test_a_bias_on_the_grid_of_the_sums_stays_where_it_is(bias: float) -> None:
    sums = one_channel(2.0**-8, bias)
    assert sums is not None
    assert (sums.bias[0] * 2.0**-8, sums.shift[0], sums.step[0]) == (bias, 0, np.float32(2.0**-8))


def test_one_between_the_units_is_stored_higher() -> None:
    """Steps of 0.003 codes: the bias 0.001 lies a third of a unit off, 0.001 + 2 codes on 667 units."""
    sums = one_channel(0.003, 0.001)
    assert sums is not None
    assert (sums.bias[0], sums.shift[0]) == (667, 2)


@given(step=st.floats(3e-4, 3e-3), bias=st.floats(-20, 20), products=st.integers(-3000, 3000))
def test_the_result_is_that_of_a_float_bias(step: float, bias: float, products: int) -> None:
    sums = one_channel(step, bias)
    assume(sums is not None)  # steps such as 0.003 have shifts of thirds of a unit only
    assert sums is not None
    exact = products * step + bias
    # A step that is a few of float32's numbers beside the right one moves large codes a little more.
    assert abs(result(sums, products) - exact) < 2.0**-15 + abs(exact) * 2.0**-20
    assert 0 <= sums.shift[0] <= 128


def test_signed_results_leave_no_room_for_a_shift() -> None:
    assert one_channel(0.003, 0.003 * 5, limit=255) is not None
    assert one_channel(0.003, 0.001, limit=255) is None


def test_a_bias_that_integers_cannot_hold_is_left_to_float_arithmetic() -> None:
    few = np.zeros((1, 1, 1, 1), np.int8) + 1
    assert one_channel(1e-5, 2e4) is None  # more than 2^30 units
    assert one_channel(0.5, 0.1) is None  # hardly any sum lies near
    assert one_channel(0.01, 0.001, codes=few) is None  # codes of 0 and 1: every one that differs counts


@pytest.mark.parametrize("bias", [0.0, 0.7, -1e6, 1e6])
def test_a_channel_whose_products_never_show_keeps_its_bias(bias: float) -> None:
    sums = one_channel(1e-14, bias)
    assert sums is not None
    assert not sums.codes.any()
    assert result(sums, 0) == pytest.approx(np.clip(bias, -512, 512), abs=NEGLIGIBLE)


def test_channels_are_chosen_for_one_by_one() -> None:
    codes = np.full((3, 4, 3, 3), 100, np.int8)
    sums = integer_sums(codes, np.array([0.003, 2.0**-8, 1e-14]), np.array([0.001, 1.0, 2.0]), 127)
    assert sums is not None
    assert list(sums.shift) == [2, 0, 0]
    assert list(sums.codes.reshape(3, -1).any(axis=1)) == [True, True, False]
