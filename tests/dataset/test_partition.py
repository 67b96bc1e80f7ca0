import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatkit.dataset import partition

NAMES = [f"{number:03d}" for number in range(50)]


@pytest.mark.parametrize("split", [partition.random_split, partition.tao_split])
@pytest.mark.parametrize(
    "count, val_split, validation", [(0, 20, 0), (1, 99, 0), (10, 0, 0), (10, 25, 2), (50, 20, 10), (3, 50, 1)]
)
def test_sizes_of_a_split(split, count: int, val_split: float, validation: int) -> None:
    parts = split(NAMES[:count], val_split, random.Random(42))
    assert [len(part) for part in parts] == [validation, count - validation]
    assert sorted(parts[0] + parts[1]) == NAMES[:count]


def test_the_validation_images_of_tao_are_the_first() -> None:
    validation, training = partition.tao_split(NAMES[::-1], 20, random.Random(42))
    assert sorted(validation) == NAMES[:10]
    assert validation != NAMES[:10] and training != NAMES[10:]


def test_ours_are_drawn_by_the_seed() -> None:
    draws = [partition.random_split(NAMES, 20, random.Random(seed))[0] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert max(draws[0]) > NAMES[15]


SEQUENCES = {"b": ["b0", "b1"], "a": ["a0", "a1"], "long": ["l0", "l1", "l2"], "d": ["d0"], "e": []}


@pytest.mark.parametrize(
    "folds, expected",
    [
        (0, ["a0 a1 b0 b1 d0 l0 l1 l2"]),
        (1, ["a0 a1 b0 b1 d0 l0 l1 l2"]),
        (2, ["a0 a1 d0", "b0 b1 l0 l1 l2"]),  # long a b d e: long, b, e | a, d; then reversed
        (3, ["b0 b1", "a0 a1", "d0 l0 l1 l2"]),
        (7, ["", "", "", "d0", "b0 b1", "a0 a1", "l0 l1 l2"]),
    ],
)
def test_sequences_stay_together(folds: int, expected: list[str]) -> None:
    parts = partition.sequence_split(SEQUENCES, folds, random.Random(42))
    assert [" ".join(sorted(part)) for part in parts] == expected


@pytest.mark.parametrize(
    "count, shards, sizes",
    [(0, 0, [0]), (5, 0, [5]), (5, 1, [5]), (5, 2, [2, 3]), (2, 3, [0, 0, 2]), (6, 3, [2, 2, 2])],
)
def test_shards(count: int, shards: int, sizes: list[int]) -> None:
    parts = partition.shards(NAMES[:count], shards)
    assert [len(part) for part in parts] == sizes


@given(st.lists(st.integers()), st.integers(0, 12))
def test_shards_keep_everything_in_order(items: list[int], count: int) -> None:
    assert [item for part in partition.shards(items, count) for item in part] == items


@pytest.mark.parametrize(
    "arguments, name",
    [
        (("tfr", 0, 0, 0, 0), "tfr"),
        (("tfr", 1, 2, 0, 0), "tfr-fold-001-of-002"),
        (("tfr", 0, 0, 3, 10), "tfr-shard-00003-of-00010"),
        (("tfr", 1, 2, 3, 10), "tfr-fold-001-of-002-shard-00003-of-00010"),
    ],
)
def test_file_names(arguments: tuple, name: str) -> None:
    assert partition.file_name(*arguments) == name
