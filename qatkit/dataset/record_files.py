"""Which record files a spec names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from qatkit.dataset.paths import is_folder, is_there, list_folder, resolve
from qatkit.dataset.picture_file import SUFFIXES
from qatkit.errors import DataError

_NUMBERS = re.compile(r"-fold-(?=\d+-of-)")
_TOTAL = re.compile(r"-of-(\d+)")
# Files that lie beside record files and match a pattern such as `tfrecords/*`: TAO's own are
# `<output>_warning.json` and `status.json`.
_NOT_RECORDS = frozenset({".json", ".txt", ".log", ".yaml", ".yml"}) | SUFFIXES


class NoRecordsError(DataError):
    """A tfrecords_path that matches no record files; are_near: whether there are some near it."""

    def __init__(self, message: str, *, hint: str = "", are_near: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.are_near = are_near


def record_files(pattern: str) -> list[Path]:
    """The record files that match `pattern`, or those in the folder of this name, sorted.

    What is clearly something else (.json, .txt, hidden) is left out. In the part of a pattern that exists, brackets,
    `*` and `?` are letters of a name. Raises NoRecordsError when there are none.
    """
    place = resolve(pattern)
    found = list_folder(place) if is_folder(place) else _matches(place)
    files = [path for path in found if path.is_file() and not _is_no_record_file(path)]
    if not files:
        what = "no record files in this folder" if is_folder(place) else "no record files match"
        near = _near(place)
        hint = near or _missing_folder(place) or "tfrecords_path; dataset_convert makes them"
        raise NoRecordsError(f"{place}: {what}", hint=hint, are_near=bool(near))
    return files


def of_two_conversions(files: Iterable[Path]) -> Iterator[str]:
    """What to say of record files of one name whose numbers of folds or shards differ: their images count twice."""
    first: dict[str, Path] = {}
    for path in files:
        prefix, *totals = _NUMBERS.split(path.name, maxsplit=1)
        if totals and _totals(first.setdefault(f"{path.parent / prefix}", path)) != _totals(path):
            yield f"{first[str(path.parent / prefix)]} and {path.name} are of two conversions; remove those of one"
            return


def _matches(place: Path) -> list[Path]:
    literal, rest = Path(place.anchor), place.parts[1:]
    while rest and is_there(literal / rest[0]):
        literal, rest = literal / rest[0], rest[1:]
    if not rest:
        return [literal]
    pattern = os.path.join(glob.escape(str(literal)), *rest)  # noqa: PTH118 - a pattern is no path
    return [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - absolute pattern


def _is_no_record_file(path: Path) -> bool:
    return path.suffix.lower() in _NOT_RECORDS or path.name.startswith(".")


def _near(place: Path) -> str:
    """Record files near a pattern that matches none: with its name as prefix, in the folder or below it."""
    for prefix in (place, place.parent):
        if is_folder(prefix.parent) and any(prefix.parent.glob(f"{glob.escape(prefix.name)}-fold-*")):
            return f"there are record files {prefix}-fold-*"
    folder = place if is_folder(place) else place.parent
    for pattern in ("*-fold-*", "*/*-fold-*"):
        for path in sorted(folder.glob(pattern) if is_folder(folder) else ()):
            if path.is_file():
                return f"there are record files {path.parent}/*"
    return ""


def _missing_folder(place: Path) -> str:
    """The first folder of a pattern that does not exist."""
    parents = [parent for parent in place.parents if not glob.has_magic(str(parent)) and not is_there(parent)]
    return f"there is no folder {parents[-1]}" if parents else ""


def _totals(path: Path) -> list[str]:
    return _TOTAL.findall(path.name)
