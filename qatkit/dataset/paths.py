"""Where relative paths of a spec point to."""

from __future__ import annotations

import os
from pathlib import Path


def resolve(path: str) -> Path:
    """The place of `path` from a spec file.

    An absolute path is itself. A relative one is below DATA_BASE_PATH where that is set. Otherwise it is
    relative to the current folder if its first part exists there, else below ~/datasets, as in TAO.
    """
    # The functions of os.path raise no errors for users that do not exist and for names that are too long.
    given = Path(os.path.expanduser(path))  # noqa: PTH111
    base = os.environ.get("DATA_BASE_PATH")
    if given.is_absolute():
        return given
    if base:
        return Path(base).expanduser() / given
    if not given.parts or os.path.exists(given.parts[0]):  # noqa: PTH110
        return Path.cwd() / given
    fallback = Path.home() / "datasets"
    there = os.path.exists(fallback / given.parts[0])  # noqa: PTH110
    return fallback / given if there else Path.cwd() / given
