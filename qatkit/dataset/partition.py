"""Which frame goes into which fold and shard. Pure functions over frame ids."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def random_split(ids: Sequence[str], val_split: float, generator: random.Random) -> list[list[str]]:
    """[validation, training]: int(val_split % of the ids) drawn at random, and the rest; both in random order."""
    shuffled = list(ids)
    generator.shuffle(shuffled)
    count = int(val_split / 100.0 * len(ids))
    return [shuffled[:count], shuffled[count:]]


def tao_split(ids: Sequence[str], val_split: float, generator: random.Random) -> list[list[str]]:
    """[validation, training] as TAO's "random" mode makes them: the first ids in alphabetical order validate."""
    ordered = sorted(ids)
    count = int(val_split / 100.0 * len(ids))
    parts = [ordered[:count], ordered[count:]]
    for _ in range(2):  # TAO shuffles each part twice
        for part in parts:
            generator.shuffle(part)
    return parts


def sequence_split(sequences: Mapping[str, Sequence[str]], folds: int, generator: random.Random) -> list[list[str]]:
    """`folds` parts such that all frames of a sequence are in the same one, each in random order.

    As TAO: sequences by falling length, then name, are dealt in turn; the list of parts is reversed.
    """
    if folds <= 1:
        parts = [[frame for frames in sequences.values() for frame in frames]]
    else:
        names = sorted(sequences, key=lambda name: (-len(sequences[name]), name))
        parts = [[frame for name in names[fold::folds] for frame in sequences[name]] for fold in range(folds)][::-1]
    for part in parts:
        generator.shuffle(part)
    return parts


def shards(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """`items` in max(count, 1) consecutive parts of equal length; the last takes the remainder."""
    count = max(count, 1)
    size = len(items) // count
    return [items[shard * size : (shard + 1) * size if shard < count - 1 else None] for shard in range(count)]


def file_name(prefix: str, fold: int, folds: int, shard: int, shards_in_fold: int) -> str:
    """TAO's name of a record file; without its fold part for `folds` 0, without its shard part for 0 shards."""
    fold_part = f"-fold-{fold:03d}-of-{folds:03d}" if folds else ""
    shard_part = f"-shard-{shard:05d}-of-{shards_in_fold:05d}" if shards_in_fold else ""
    return f"{prefix}{fold_part}{shard_part}"
