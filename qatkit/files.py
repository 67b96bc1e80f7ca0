"""Files that appear whole or not at all, written under a temporary name, then renamed; and how a spec names files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qatkit.errors import EnvironmentProblem, SpecError

_PIECE = 2**20  # bytes
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([^}]*)\})")


def expand(path: str) -> str:
    """A path of a spec with its `~`, `$NAME` and `${NAME}` replaced.

    Raises SpecError for a variable of the environment that is not set, or empty: `$DATA/images` is no `/images`.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2] or ""
        if not (text := os.environ.get(name, "")):
            state = "empty" if name in os.environ else "not set"
            raise SpecError(f"{path}: ${name} is {state}", hint="export it, or write out the path in the spec")
        return text

    # os.path, unlike pathlib, raises no error for a user that does not exist.
    return os.path.expanduser(_VARIABLE.sub(value, path))  # noqa: PTH111


def make_directory(path: Path) -> Path:
    """Create `path` with its parents.

    Raises EnvironmentProblem where that is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise EnvironmentProblem(f"{path}: this is a file, not a folder") from error
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot create this folder: {error.strerror}") from error
    return path


def check_writable(directory: Path) -> Path:
    """Create `directory` and prove that a file can be written there, before hours of work depend on it."""
    make_directory(directory)
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise EnvironmentProblem(f"{directory}: cannot write here: {error.strerror}") from error
    return directory


def check_file(path: Path) -> None:
    """Prove that a file can be written at `path`, before hours of work depend on it."""
    if path.is_dir():
        raise EnvironmentProblem(f"{path}: this is a folder, not a file")
    try:
        folder = path.absolute().parent
    except FileNotFoundError as error:
        raise EnvironmentProblem(f"{path}: the folder that this runs in is gone") from error
    check_writable(folder)


def remove_leftovers(directory: Path) -> None:
    """Remove what `replacing` left in `directory` when a process was killed. Nobody else may be writing there."""
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of the content of the file `path`, hexadecimal, read piece by piece.

    Raises EnvironmentProblem where it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot read: {error.strerror}") from error
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    Raises EnvironmentProblem when the file system refuses (no space, no permission).
    """
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot write: {reason(error)}") from error
    finally:
        with suppress(OSError):  # there is none, a file system that has become read-only, a folder that is gone
            temporary.unlink()


def reason(error: OSError) -> str:
    """What the file system said; libraries put pages of their own words there."""
    return os.strerror(error.errno) if error.errno else "the file system refuses"


def write_bytes(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write `data` to `path` in one step. durable: also where the machine loses power right after it."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        if durable:
            _to_disk(temporary)


def _to_disk(path: Path) -> None:
    """Before the name is given: a file system may note that first, and the content half a minute later."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with LF line ends, in one step."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, in one step."""
    write_text(path, json.dumps(value, indent=2) + "\n")
