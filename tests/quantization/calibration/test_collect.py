"""Histograms of all tensors over all batches."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from qatkit.errors import DataError, ModelError
from qatkit.export.cache import scale_to_hex
from qatkit.quantization.calibration.calibrators import CALIBRATORS, minmax
from qatkit.quantization.calibration.collect import SMALLEST_AMAX, collect, ranges

Batch = dict[str, np.ndarray]


def batches(count: int = 6) -> list[Batch]:
    rng = np.random.default_rng(0)
    return [
        {"image": rng.random((2, 3, 8, 8), np.float32), "wide": 10.0**number * rng.normal(size=(2, 500))}
        for number in range(count)
    ]


def test_no_batch_is_an_error() -> None:
    with pytest.raises(DataError, match="no images"):
        collect([])


def test_tensors_keep_their_order_and_counts_add_up() -> None:
    found = collect(iter(batches()))
    assert list(found) == ["image", "wide"]
    assert found["image"].total == 6 * 2 * 3 * 8 * 8
    assert (found["image"].has_negative, found["wide"].has_negative) == (False, True)
    expected = max(np.abs(batch["wide"].astype(np.float32)).max() for batch in batches())
    assert ranges(found, minmax)["wide"] == expected


def test_the_tensors_of_a_batch_are_gone_when_the_next_one_is_made() -> None:
    made: list[weakref.ref[np.ndarray]] = []

    def batch() -> Batch:
        assert not any(reference() is not None for reference in made)
        values = np.ones(3, np.float32)
        made.append(weakref.ref(values))
        return {"tensor": values}

    assert collect(batch() for _ in range(3))["tensor"].total == 9


@pytest.mark.parametrize("name", CALIBRATORS)
def test_the_order_of_the_batches_does_not_matter(name: str) -> None:
    forward, backward = (ranges(collect(order), CALIBRATORS[name]) for order in (batches(), batches()[::-1]))
    assert forward == backward


def test_a_value_that_is_no_number_names_its_tensor() -> None:
    with pytest.raises(ModelError, match="tensor wide: a value is not finite"):
        collect([{"image": np.zeros(3), "wide": np.array([1.0, np.nan])}])


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_dead_tensor_gets_the_range_that_tensorrt_gives_it(name: str) -> None:
    amax = ranges(collect([{"dead": np.zeros((1, 4, 2, 2), np.float32)}]), CALIBRATORS[name])["dead"]
    assert amax == SMALLEST_AMAX
    assert scale_to_hex(amax / 127) == "30810204"
