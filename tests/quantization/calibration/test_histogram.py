"""The streaming histogram: bins by hand, growth, and independence of order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

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
        # The range of a maximum of 1 is [0, 2): 1 lies in the bin that begins there.
        ([[0, 0.25, -0.5, 1]], 2.0**-14, {0: 1, 4096: 1, 8192: 1, 16384: 1}),
        ([[0.999, 0.25]], 2.0**-15, {8192: 1, 32735: 1}),
        # [0, 2) grows to [0, 8): four bins become one.
        ([[1, 1 + 2.0**-14, 1 + 2.0**-12], [4]], 2.0**-12, {4096: 2, 4097: 1, 16384: 1}),
        ([[0, 0], [4], [0]], 2.0**-12, {0: 3, 16384: 1}),
        # So small against the maximum that all of it falls into the first bin.
        ([[1e-20, 2e-20, 0], [1]], 2.0**-14, {0: 3, 16384: 1}),
        ([[1e-30, 0]], 2.0**-79, {0: 2}),
        ([[0.75 * 2.0**128], [-(2.0**127)]], 2.0**113, {24576: 1, 16384: 1}),
    ],
)
def test_bins(batches: list[list[float]], width: float, bins: dict[int, int]) -> None:
    found = histogram(*batches)
    assert found.bin_width == width
    assert filled(found) == bins


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
    assert_array_equal(found.counts, np.histogram(values, BINS, (0, 1))[0])
    assert found.counts.nbytes == 256 * 1024


@settings(deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=5), st.randoms())
def test_order_and_batches_do_not_matter(batches: list[list[float]], random: object) -> None:
    whole = histogram([value for batch in batches for value in batch])
    shuffled = list(batches)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    split = histogram(*shuffled)
    assert_array_equal(split.counts, whole.counts)
    assert (split.bin_width, split.maximum) == (whole.bin_width, whole.maximum)
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
    assert (lower <= magnitudes).all()
    assert (magnitudes < lower + found.bin_width).all()
    assert len(found.occupied()) == max(filled(found)) + 1


@settings(deadline=None)
@given(LISTS.filter(any), st.integers(1, 3000))
def test_resampling_keeps_the_number_of_values(values: list[float], bins: int) -> None:
    parts = histogram(values).resampled(bins)
    assert len(parts) == bins
    assert (parts >= 0).all()
    assert parts[-1] > 0
    assert parts.sum() == pytest.approx(len(values))


def test_resampling_ends_at_the_maximum_and_splits_bins_in_proportion() -> None:
    # 4 bins of 0.25: 0.1 | 0.3, 0.4 | nothing | 0.75, 1
    assert_allclose(histogram([0.1, 0.3, -0.4, 0.75, 1]).resampled(4), [1, 2, 0, 2])
    # The bin of 0.5 reaches to 0.5 + 2^-14; the edge at half the maximum cuts it in two.
    cut = histogram([0.5, 1 + 2.0**-14])
    assert_allclose(cut.resampled(2), [0.5, 1.5])


def test_resampling_a_smooth_distribution_is_close_to_binning_it_directly() -> None:
    values = np.abs(np.random.default_rng(1).normal(size=400_000)).astype(np.float32)
    expected = np.histogram(values, 2048, (0, values.max()))[0]
    difference = np.abs(histogram(values).resampled(2048) - expected)
    assert difference.max() <= 0.1 * expected.max()
