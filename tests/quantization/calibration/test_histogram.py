"""The streaming histogram: bins by hand, growth, and independence of order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from qatkit.quantization.calibration.histogram import BINS, Histogram

FLOATS = st.floats(-1e6, 1e6, width=32)
LISTS = st.lists(FLOATS, min_size=1, max_size=50)


def histogram(*batches: object) -> Histogram:
    result = Histogram()
    for batch in batches:
        result.add(np.array(batch, np.float32))
    return result


def filled(of: Histogram) -> dict[int, int]:
    """Bin -> count of the bins that are not empty."""
    return {int(index): int(of.counts[index]) for index in np.flatnonzero(of.counts)}


def test_without_values_it_is_empty() -> None:
    empty = histogram([])
    assert (empty.total, empty.maximum, empty.has_negative) == (0, 0.0, False)
    assert not empty.counts.any()


@pytest.mark.parametrize(
    ("batches", "width", "bins"),
    [
        ([[0.0, 0.0]], 2.0**-79, {0: 2}),
        # A bin holds its upper edge, the first one zeros too. The range of a maximum of 1 is [0, 1].
        ([[0, 0.25, -0.5, 1]], 2.0**-15, {0: 1, 8191: 1, 16383: 1, 32767: 1}),
        ([[0.999, 0.25]], 2.0**-15, {8191: 1, 32735: 1}),
        # [0, 2] grows to [0, 8]: four bins become one.
        ([[1, 1 + 2.0**-14, 1 + 2.0**-12], [5]], 2.0**-12, {4095: 1, 4096: 2, 20479: 1}),
        ([[0, 0], [4], [0]], 2.0**-13, {0: 3, 32767: 1}),
        # So small against the maximum that all of it falls into the first bin.
        ([[1e-20, 2e-20, 0], [1]], 2.0**-15, {0: 3, 32767: 1}),
        ([[1e-30, 0]], 2.0**-79, {0: 2}),
        ([[0.75 * 2.0**128], [-(2.0**127)]], 2.0**113, {24575: 1, 16383: 1}),
    ],
)
def test_bins(batches: list[list[float]], width: float, bins: dict[int, int]) -> None:
    found = histogram(*batches)
    assert found.bin_width == width
    assert filled(found) == bins


@pytest.mark.parametrize(
    ("batches", "reach", "bins"),
    [
        ([[1.5, 3]], 3.0, {16383: 1, 32767: 1}),
        # Past the range, by however little: it doubles, and the bins of what was there are merged in pairs.
        ([[1.5, 3], [3 + 2.0**-22]], 6.0, {8191: 1, 16383: 1, 16384: 1}),
        ([[3], [6], [6.1]], 12.0, {8191: 1, 16383: 1, 16657: 1}),
        # Never smaller than where it starts.
        ([[0, 0.75]], 3.0, {0: 1, 8191: 1}),
    ],
)
def test_a_range_that_starts_at_3(batches: list[list[float]], reach: float, bins: dict[int, int]) -> None:
    found = Histogram(3.0)
    for batch in batches:
        found.add(np.array(batch, np.float32))
    assert found.range == reach
    assert filled(found) == bins


@pytest.mark.parametrize("start", [0.0, 1e-40, 2.0**-64])
def test_a_start_that_is_next_to_nothing(start: float) -> None:
    found = Histogram(start)
    found.add(np.array([1.0], np.float32))
    assert (found.range, found.maximum) == (1.0, 1.0)


def test_maximum_and_sign() -> None:
    found = histogram([[0.5, -0.0], [0.1, 0.2]])
    assert (found.maximum, found.has_negative, found.total) == (0.5, False, 4)
    found.add(np.array([-0.75], np.float16))
    assert (found.maximum, found.has_negative, found.total) == (0.75, True, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_and_not_counted(bad: float) -> None:
    found = histogram([1.0])
    with pytest.raises(ValueError, match="not finite"):
        found.add(np.array([0.5, bad], np.float32))
    assert (found.total, found.maximum) == (1, 1.0)


def test_many_values_are_all_counted() -> None:
    values = np.random.default_rng(0).random(700_001, np.float32)
    found = histogram(values[:600_000], values[600_000:])
    assert found.total == 700_001
    assert found.maximum == values.max()
    assert_array_equal(
        found.counts, np.bincount(np.maximum(np.ceil(values * BINS) - 1, 0).astype(int), minlength=BINS)
    )
    assert found.counts.nbytes == 256 * 1024


STARTS = st.floats(0, 1e6, width=32)


@settings(deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=5), STARTS, st.randoms())
def test_order_and_batches_do_not_matter(batches: list[list[float]], start: float, random: object) -> None:
    whole = Histogram(start)
    whole.add(np.concatenate(batches))
    random.shuffle(batches)  # type: ignore[attr-defined]
    split = Histogram(start)
    for batch in batches:
        split.add(np.array(batch))
    assert_array_equal(split.counts, whole.counts)
    assert (split.range, split.maximum) == (whole.range, whole.maximum)
    assert split.has_negative == whole.has_negative


@settings(deadline=None)
@given(LISTS)
def test_every_value_is_known_to_a_16384th_of_the_exact_maximum(values: list[float]) -> None:
    found = histogram(values)
    magnitudes = np.sort(np.abs(np.array(values, np.float32)).astype(np.float64))
    assert found.maximum == magnitudes[-1]
    if found.maximum > 2.0**-64:
        assert found.bin_width <= found.maximum / 16384
    lower = np.repeat(np.arange(BINS) * found.bin_width, found.counts)
    assert ((lower < magnitudes) | (magnitudes == 0)).all()
    assert (magnitudes <= lower + found.bin_width).all()
    assert len(found.occupied()) == max(filled(found)) + 1


def test_merged_bins() -> None:
    # 4 bins of 0.25: 0.1, 0.25 | 0.3, 0.4 | nothing | 0.76, 1
    found = histogram([0.1, 0.25, 0.3, -0.4, 0.76, 1])
    assert_array_equal(found.merged(4), [2, 2, 0, 2])
    assert_array_equal(found.merged(BINS), found.counts)


@settings(deadline=None)
@given(LISTS, STARTS, st.integers(0, 15))
def test_merging_is_binning_into_fewer(values: list[float], start: float, exponent: int) -> None:
    found = Histogram(start)
    found.add(np.array(values))
    fewer = found.merged(1 << exponent)
    assert (len(fewer), fewer.sum()) == (1 << exponent, len(values))
    upper = (np.flatnonzero(found.counts) + 1) * (1 << exponent) / BINS
    assert set(np.flatnonzero(fewer)) == set(np.ceil(upper).astype(int) - 1)
