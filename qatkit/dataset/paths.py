"""Where relative paths of a spec point to."""

from __future__ import annotations

import os
from pathlib import Path


def resolve(path: str) -> Path:
    """The place of `path` from a spec file.

    An absolute path is itself. A relative one is below DATA_BASE_PATH where that is set. Otherwise it is
    relative to the current folder if its first part exists there, else below ~/datasets, as in TAO.
    """
    given = Path(path).expanduser()
    base = os.environ.get("DATA_BASE_PATH")
    if given.is_absolute():
        return given
    if base:
        return Path(base).expanduser() / given
    if not given.parts or Path(given.parts[0]).exists():
        return Path.cwd() / given
    fallback = Path.home() / "datasets" / given
    return fallback if (Path.home() / "datasets" / given.parts[0]).exists() else Path.cwd() / given
