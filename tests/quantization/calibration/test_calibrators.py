"""Calibrators on distributions whose best range is known, and against literal definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qatkit.choices import CalibratorName
from qatkit.errors import UsageError
from qatkit.export.cache import scale_to_hex
from qatkit.quantization.calibration.calibrators import (
    CALIBRATORS,
    calibrator,
    divergences,
    entropy,
    minmax,
    mse,
    percentile,
)
from qatkit.quantization.calibration.histogram import Histogram

# No clipping in TensorRT's histogram: half a bin past the last of 2048.
PAST_THE_END = 2048.5 / 2048
COUNT = 200_000


def histogram(values: object) -> Histogram:
    """Of one batch."""
    flat = np.asarray(values, np.float32)
    result = Histogram(float(np.abs(flat).max()))
    result.add(flat)
    return result


def draw(make: Callable[[np.random.Generator], NDArray[np.float64]]) -> Histogram:
    return histogram(make(np.random.default_rng(0)))


def test_the_command_line_knows_them_all() -> None:
    assert tuple(CALIBRATORS) == get_args(CalibratorName)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'kl' .*entropy, minmax, percentile, mse"):
        calibrator("kl")
    assert calibrator("mse") is mse


@pytest.mark.parametrize("name", CALIBRATORS)
@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0, 0), (3.0, 3, 3 * PAST_THE_END), (-1e-3, 1e-3, 1.001e-3)])
def test_a_constant_tensor(name: str, value: float, low: float, high: float) -> None:
    found = calibrator(name)(histogram(np.full(100, value)))
    assert np.float32(low) <= found <= high


@pytest.mark.parametrize(
    "pixels",
    [
        lambda rng: rng.integers(0, 256, COUNT),
        lambda rng: np.minimum(rng.gamma(2, 20, COUNT).astype(int), 255),
        lambda rng: np.clip(rng.normal(200, 40, COUNT).astype(int), 0, 255),
    ],
    ids=["uniform", "dark", "bright"],
)
def test_images_that_reach_1_get_the_scale_of_tensorrts_caches(
    pixels: Callable[[np.random.Generator], NDArray[np.float64]],
) -> None:
    amax = entropy(draw(lambda rng: pixels(rng) / 255))
    assert amax == PAST_THE_END
    assert scale_to_hex(amax / 127) == "3c010a14"


def test_entropy_clips_nothing_of_a_uniform_or_saturated_tensor() -> None:
    assert entropy(draw(lambda rng: rng.uniform(-3, 3, COUNT))) == pytest.approx(3 * PAST_THE_END, rel=1e-3)
    assert entropy(draw(lambda rng: np.clip(3 * rng.normal(size=COUNT), 0, 6))) == 6 * PAST_THE_END


def test_entropy_clips_long_tails_and_hardly_anything_else() -> None:
    normal, laplace, student = (
        (found := draw(make), entropy(found))
        for make in (
            lambda rng: rng.normal(size=COUNT),
            lambda rng: rng.laplace(size=COUNT),
            lambda rng: rng.standard_t(3, COUNT),
        )
    )
    assert 0.75 < normal[1] / normal[0].maximum < 1.001
    assert 0.4 < laplace[1] / laplace[0].maximum < 0.9
    assert student[1] / student[0].maximum < 0.4
    assert percentile(student[0], 99) < student[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: 10 + rng.normal(size=COUNT),
        lambda rng: 1 / (1 + np.exp(-4 - rng.normal(size=COUNT))),
        lambda rng: np.where(rng.random(COUNT) < 0.6, 0.5, rng.uniform(0.9, 1, COUNT)),
    ],
    ids=["far from zero", "saturated sigmoid", "a spike and a plateau"],
)
def test_entropy_does_not_keep_a_few_small_values_and_clip_the_rest(
    make: Callable[[np.random.Generator], NDArray[np.float64]],
) -> None:
    values = make(np.random.default_rng(0)).astype(np.float32)
    assert (values > entropy(histogram(values))).mean() < 0.02


def test_zeros_do_not_change_the_entropy_range() -> None:
    values = np.random.default_rng(0).laplace(size=COUNT).astype(np.float32)
    assert entropy(histogram(np.append(values, np.zeros(COUNT)))) == entropy(histogram(values))


@pytest.mark.parametrize(
    ("start", "values", "expected"),
    [
        # One value a level at most: nothing is lost by any candidate that keeps all of them. The smallest wins.
        (3.0, [3.0], 2048.5 * 3 / 2048),
        (1.0, [1.0, 1.5], 1536.5 * 2 / 2048),
        (8.0, [4.0, 8.0], 2048.5 * 8 / 2048),
    ],
)
def test_entropy_in_a_given_range(start: float, values: list[float], expected: float) -> None:
    found = Histogram(start)
    found.add(np.repeat(values, 100))
    assert entropy(found) == expected


def test_entropy_of_magnitudes_that_one_bin_holds() -> None:
    assert entropy(histogram([1e-45])) == float(np.float32(1e-45))


def test_entropy_may_exceed_the_maximum_where_the_range_does() -> None:
    """Eight neighbouring bins of 1000 are equally full. With 8 bins a level, 1024 in all, nothing is lost."""
    found = Histogram(2048.0)
    found.add(np.repeat(np.arange(1000) + 0.5, np.where(np.arange(1000) // 8 % 2 == 0, 50, 100)))
    assert found.maximum < 1000 < entropy(found) < 1025


def reference_divergence(counts: NDArray[np.float64], kept: int) -> float:
    """KL(P || Q) bin by bin, as the slides have it; the level of bin j is the integer part of 128 j / kept."""
    reference = counts[:kept].copy()
    reference[-1] += counts[kept:].sum()
    level = np.arange(kept) * 128 // kept
    expanded = np.zeros(kept)
    for number in range(128):
        members = (level == number) & (counts[:kept] > 0)
        if members.any():
            expanded[members] = counts[:kept][members].sum() / members.sum()
    if not expanded.any():
        return np.inf
    p, q = reference / reference.sum(), expanded / expanded.sum()
    if (q[p > 0] == 0).any():
        return np.inf
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@pytest.mark.parametrize("density", [1.0, 0.3, 0.01])
def test_divergences_are_those_of_the_definition(density: float) -> None:
    rng = np.random.default_rng(7)
    counts = np.where(rng.random(2048) < density, rng.pareto(1, 2048) * 1000, 0.0)
    counts[-1] = 3
    found = divergences(counts)
    assert len(found) == 1921
    for kept in [*range(128, 2048, 61), 2047, 2048]:
        assert found[kept - 128] == pytest.approx(reference_divergence(counts, kept), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "best"),
    [
        # Clipping that minimizes the mean squared error of 8 bits: R. Banner, Y. Nahshan, D. Soudry, Post training
        # 4-bit quantization of convolutional networks (2019): 3.92 sigma, 9.89 b.
        (lambda rng: rng.normal(size=1_000_000), 3.92),
        (lambda rng: rng.laplace(size=1_000_000), 9.89),
        (lambda rng: rng.uniform(-1, 1, 1_000_000), 1.0),
    ],
    ids=["normal", "laplace", "uniform"],
)
def test_mse_finds_the_known_optimum(make: Callable[[np.random.Generator], NDArray[np.float64]], best: float) -> None:
    assert mse(draw(make)) == pytest.approx(best, rel=0.03)


def test_mse_beats_every_other_range_on_the_values_themselves() -> None:
    values = np.random.default_rng(3).standard_t(4, 20_000).astype(np.float32)
    found = histogram(values)

    def error(amax: float) -> float:
        scale = amax / 127
        return float(((values - np.clip(np.rint(values / scale), -127, 127) * scale) ** 2).mean())

    others = np.linspace(found.maximum / 16, found.maximum, 200)
    assert error(mse(found)) <= min(map(error, others)) * 1.002


@pytest.mark.parametrize(("percent", "expected"), [(99.99, 0.9999), (99.0, 0.99), (50.0, 0.5), (100.0, 1.0)])
def test_percentile_of_equally_spaced_values(percent: float, expected: float) -> None:
    values = np.arange(1, 10_001) / 10_000
    assert percentile(histogram(-values), percent) == pytest.approx(expected, abs=1 / 16384)


def test_percentile_counts_zeros_and_leaves_out_the_tail() -> None:
    values = np.zeros(1_000_000)
    values[:50] = 100
    values[50:1000] = 1
    assert percentile(histogram(values)) == pytest.approx(1, abs=100 / 16384)


MAGNITUDES = arrays(np.float32, st.integers(1, 60), elements=st.floats(-1000, 1000, width=32))


@settings(max_examples=40, deadline=None)
@given(MAGNITUDES)
def test_ranges_do_not_exceed_the_maximum_by_more_than_half_a_bin(values: NDArray[np.float32]) -> None:
    found = histogram(values)
    peak = float(np.abs(values).max())
    assert minmax(found) == peak
    for choose in (percentile, mse):
        assert 0 <= choose(found) <= peak
    assert 0 <= entropy(found) <= peak * PAST_THE_END * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(MAGNITUDES.filter(lambda values: np.abs(values).max() > 1e-3), st.integers(-8, 8))
def test_ranges_scale_with_the_values(values: NDArray[np.float32], exponent: int) -> None:
    # Whole numbers, so that scaling is exact.
    values = np.round(values * 16)
    factor = 2.0**exponent
    for choose in CALIBRATORS.values():
        assert choose(histogram(values * factor)) == choose(histogram(values)) * factor
