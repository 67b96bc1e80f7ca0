"""Where paths of a spec point to, and what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from qatkit.errors import DataError
from qatkit.files import expand

if TYPE_CHECKING:
    from qatkit.spec import DatasetExportConfig


def resolve(path: str) -> Path:
    """The place of `path` from a spec file, `~` and variables replaced.

    An absolute path is itself. A relative one is below DATA_BASE_PATH where that is set. Otherwise it is
    relative to the current folder if its first part exists there, else below ~/datasets, as in TAO.
    Raises SpecError for a variable that is not set.
    """
    given = Path(expand(path))
    base = os.environ.get("DATA_BASE_PATH")
    if given.is_absolute():
        return given
    if base:
        return Path(expand(base)) / given
    if not given.parts or is_there(given.parts[0]):
        return Path.cwd() / given
    fallback = Path.home() / "datasets"
    return fallback / given if is_there(fallback / given.parts[0]) else Path.cwd() / given


def with_expanded_names(spec: DatasetExportConfig) -> DatasetExportConfig:
    """`spec` with `~` and variables replaced in what it names below its root directory. Errors as `resolve`."""
    result = type(spec)()
    result.CopyFrom(spec)
    if result.HasField("kitti_config"):
        kitti = result.kitti_config
        for name in ("image_dir_name", "label_dir_name", "kitti_sequence_to_frames_file"):
            setattr(kitti, name, expand(getattr(kitti, name)))
    elif result.HasField("coco_config"):
        for names in (result.coco_config.img_dir_names, result.coco_config.annotation_files):
            names[:] = map(expand, names)
    return result


def list_folder(folder: Path, field: str = "") -> list[Path]:
    """What is in a folder, sorted. field: of the spec, for the message.

    Raises DataError where there is no such folder, or it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder", hint=field) from None
    except NotADirectoryError:
        raise DataError(f"{folder}: this is a file, not a folder", hint=field) from None
    except OSError as error:
        raise DataError(f"{folder}: cannot read this folder: {error.strerror}", hint=field) from None


def check_folder(folder: Path, field: str = "") -> Path:
    """The folder. Raises DataError where there is none."""
    if is_folder(folder):
        return folder
    what = "this is a file, not a folder" if is_there(folder) else "no such folder"
    raise DataError(f"{folder}: {what}", hint=field)


def check_regular(path: Path | str) -> None:
    """Raise DataError for what is there and is no file, such as a pipe, which would be waited for without end."""
    if is_irregular(path):
        raise DataError(f"{path}: this is {'a folder, not a file' if is_folder(path) else 'no file'}")


# Unlike pathlib, the functions of os.path raise no errors for names that are too long.
def is_folder(path: Path | str) -> bool:
    """Whether there is a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def is_irregular(path: Path | str) -> bool:
    """Whether there is something that is no file. What is not there at all is missed when it is opened."""
    return is_there(path) and not os.path.isfile(path)  # noqa: PTH113


def is_there(path: Path | str) -> bool:
    """Whether there is anything."""
    return os.path.exists(path)  # noqa: PTH110
