"""Histograms of all tensors over all batches."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from qatkit.errors import DataError, ModelError
from qatkit.export.cache import scale_to_hex
from qatkit.quantization.calibration.calibrators import CALIBRATORS, entropy, minmax, mse
from qatkit.quantization.calibration.collect import SMALLEST_AMAX, collect, measure, peaks, ranges

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


def test_peaks() -> None:
    assert peaks([]) == {}
    parts = [{"a": np.array([[1.0, -3.0]]), "b": np.zeros(0)}, {"a": np.array([2.0]), "b": np.array([-0.0])}]
    assert peaks(parts) == {"a": 3.0, "b": 0.0}


def test_ranges_start_where_they_are_told_to() -> None:
    found = collect([{"a": np.array([5.0]), "b": np.array([5.0])}], {"a": 3.0})
    assert (found["a"].range, found["b"].range) == (6.0, 8.0)


def halves(images: Iterable[np.ndarray]) -> Iterator[Batch]:
    """The images themselves, in two parts a batch."""
    for batch in images:
        yield from ({"image": part} for part in np.array_split(batch, 2))


def measured(images: Iterable[np.ndarray], name: str) -> float:
    return measure(halves, images, CALIBRATORS[name])["image"]


def laplace(count: int = 6) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [(1 + 0.2 * number) * random.laplace(size=(4, 5000)).astype(np.float32) for number in range(count)]


@pytest.mark.parametrize("name", CALIBRATORS)
def test_measuring_needs_images(name: str) -> None:
    with pytest.raises(DataError, match="no images"):
        measured([], name)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_nothing_but_the_first_batch_matters_as_such(name: str) -> None:
    first, *rest = laplace()
    others = [first[::-1], *np.concatenate(rest[::-1])[:, None]]
    assert measured(others, name) == measured([first, *rest], name)


@pytest.mark.parametrize("name", sorted(set(CALIBRATORS) - {"entropy"}))
def test_to_others_the_first_batch_does_not_matter(name: str) -> None:
    assert measured(laplace()[::-1], name) == measured(laplace(), name)


@pytest.mark.parametrize("first", range(6))
def test_entropy_counts_bins_of_the_first_batch(first: int) -> None:
    images = laplace()
    images.insert(0, images.pop(first))
    peak, *others = (float(np.abs(batch).max()) for batch in images)
    while peak < max(others):
        peak *= 2
    bins = measured(images, "entropy") / peak * 2048
    assert bins % 1 == pytest.approx(0.5, abs=1e-6)
    assert 128 < bins < 2048


@pytest.mark.parametrize(("choose", "runs"), [(entropy, 4), (mse, 3)])
def test_only_entropy_runs_the_first_batch_twice(choose: object, runs: int) -> None:
    seen = []

    def run(images: Iterable[float]) -> Iterator[Batch]:
        for image in images:
            seen.append(image)
            yield {"image": np.array([image])}

    measure(run, iter([1.0, 2.0, 3.0]), choose)  # type: ignore[arg-type]
    assert seen == [1.0, 1.0, 2.0, 3.0][4 - runs :]


def test_a_value_that_is_no_number_names_its_tensor() -> None:
    with pytest.raises(ModelError, match="tensor wide: a value is not finite"):
        collect([{"image": np.zeros(3), "wide": np.array([1.0, np.nan])}])


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_dead_tensor_gets_the_range_that_tensorrt_gives_it(name: str) -> None:
    amax = ranges(collect([{"dead": np.zeros((1, 4, 2, 2), np.float32)}]), CALIBRATORS[name])["dead"]
    assert amax == SMALLEST_AMAX
    assert measured([np.zeros((4, 2), np.float32)], name) == SMALLEST_AMAX
    assert scale_to_hex(amax / 127) == "30810204"
