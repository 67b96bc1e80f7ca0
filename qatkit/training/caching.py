"""Where a training keeps its decoded images (`--cache`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from qatkit.choices import ImageCache
from qatkit.console import info, warn
from qatkit.dataset.frames import FrameTable
from qatkit.dataset.images import ImageLayout
from qatkit.dataset.pixel_cache import NOT_KEPT, Cache, decoded_bytes
from qatkit.keras.augmentation import changes_space
from qatkit.spec import Experiment

FOLDER = "decoded"
_GIGA = 1e9


def caches(
    spec: Experiment, wanted: ImageCache, results: Path, training: FrameTable, validation: FrameTable
) -> tuple[Cache, Cache]:
    """Of the images to train and to validate on, with a line that says where they are kept."""
    config = spec.augmentation_config
    layout = ImageLayout.from_spec(config.preprocessing)
    needed = (
        decoded_bytes(training, layout, whole=changes_space(config.spatial_augmentation)),
        decoded_bytes(validation, layout, whole=False),
    )
    return choose(wanted, needed, results / FOLDER, available_memory(), shutil.disk_usage(results).free)


def choose(wanted: ImageCache, needed: Sequence[int], folder: Path, memory: int, disk: int) -> tuple[Cache, Cache]:
    """A cache for each of two sets of images that take `needed` bytes. memory, disk: bytes that are free.

    auto: memory where all fit into half of it, else a file where all fit into half of the disk, else memory for as
    many as half of it holds. Where nothing tells how much memory there is, a file is preferred.
    """
    total, budget = sum(needed), memory // 2
    size = f"{total / _GIGA:.2g} GB"
    if wanted == "auto":
        wanted = "ram" if total <= budget or total > disk // 2 else "disk"
    if wanted == "none":
        info(f"Images are decoded each time ({size} decoded).")
        return NOT_KEPT, NOT_KEPT
    if wanted == "disk":
        info(f"Decoded images are kept in {folder} ({size}) until the training is done.")
        if total > disk:
            warn(f"{folder}: {disk / _GIGA:.2g} GB are free; the images that do not fit are decoded each time")
        return Cache(file=folder / "training"), Cache(file=folder / "validation")
    first = min(needed[0], budget)
    info(f"Decoded images are kept in memory ({size}{_share(total, budget)}).")
    return Cache(first), Cache(min(needed[1], budget - first))


def remove(results: Path) -> None:
    """Remove the files of a training that is done."""
    shutil.rmtree(results / FOLDER, ignore_errors=True)


def available_memory(meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that can be taken, by the system and by the limit of the container; 0 where nothing tells."""
    return min([*_of_system(meminfo), *_of_container(group)], default=0)


def _of_system(meminfo: Path) -> Iterator[int]:
    for line in _lines(meminfo):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) * 1024


def _of_container(group: Path) -> Iterator[int]:
    limit, used = (_lines(group / name) for name in ("memory.max", "memory.current"))
    if limit and used and limit[0].isdigit():
        yield max(int(limit[0]) - int(used[0]), 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _share(total: int, budget: int) -> str:
    return f"; {budget / total:.0%} of them fit, the others are decoded each time" if total > budget else ""
