"""Norms, merging and the keep rule, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qatkit.pruning.norms import Criterion, Normalizer, filter_norms, keep, keep_count, merge, normalize


def test_norms_of_a_convolution() -> None:
    kernel = np.zeros((1, 1, 2, 3), np.float32)
    kernel[0, 0, :, 0] = 3, 4
    kernel[0, 0, :, 2] = 0, -2
    assert filter_norms(kernel).tolist() == [5, 0, 2]


def test_norms_of_a_depthwise_convolution() -> None:
    kernel = np.zeros((2, 1, 3, 1), np.float32)
    kernel[:, 0, 0, 0] = 3, 4
    kernel[:, 0, 2, 0] = 0, -2
    assert filter_norms(kernel, depthwise=True).tolist() == [5, 0, 2]


@pytest.mark.parametrize(
    "normalizer, norms, expected",
    [
        ("max", [5, 0, 2], [1, 0, 0.4]),
        ("max", [0, 0], [0, 0]),
        ("L2", [3, 4], [3 / 5 * 2, 4 / 5 * 2]),
        ("L2", [0, 0], [0, 0]),
        ("L2", [1, 1, 1, 1], [2, 2, 2, 2]),  # about sqrt(N), whatever the scale
    ],
)
def test_normalize(normalizer: Normalizer, norms: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(normalize(np.array(norms, float), normalizer), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "criterion, expected",
    [
        ("union", [0.9, 1.0, 0.4]),
        ("intersection", [0.1, 1.0, 0.0]),
        ("arithmetic_mean", [0.5, 1.0, 0.2]),
        ("geometric_mean", [0.3, 1.0, 0.0]),
    ],
)
def test_merge(criterion: Criterion, expected: list[float]) -> None:
    stats = [np.array([0.1, 1.0, 0.4]), np.array([0.9, 1.0, 0.0])]
    np.testing.assert_allclose(merge(stats, criterion), expected, atol=1e-12)


# The table of the reference: granularity 8, at least 16.
@pytest.mark.parametrize("size, above, kept", [(64, 3, 16), (64, 17, 24), (64, 63, 64), (10, 1, 10), (64, 0, 16)])
def test_keep_count(size: int, above: int, kept: int) -> None:
    stats = np.where(np.arange(size) < above, 1.0, 0.05)
    assert keep_count(stats, 0.1, 8, 16) == kept


def test_the_threshold_itself_is_not_above_it() -> None:
    assert keep_count(np.array([0.5, 0.5, 0.6]), 0.5, 1, 1) == 1


def test_the_strongest_stay_in_their_order_and_the_first_of_equals() -> None:
    stats = np.array([0.2, 0.9, 0.3, 0.3, 1.0, 0.3])
    assert keep(stats, 0.5, 1, 1).tolist() == [1, 4]
    assert keep(stats, 0.5, 4, 1).tolist() == [1, 2, 3, 4]
    assert math.isclose(len(keep(stats, 2.0, 1, 6)), 6)
