from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest

from qatkit.errors import EnvironmentProblem, SpecError
from qatkit.files import (
    check_file,
    check_writable,
    expand,
    make_directory,
    remove_leftovers,
    replacing,
    sha256,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), SystemExit(1)])
def test_whatever_goes_wrong_leaves_the_former_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.txt"
    path.write_text("former")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "former"
    assert names(tmp_path) == ["file.txt"]


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "model.tlt"
    with (
        pytest.raises(EnvironmentProblem, match=r"model\.tlt: cannot write: No space left on device"),
        replacing(path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


@pytest.mark.parametrize("use", [make_directory, check_writable], ids=lambda use: use.__name__)
@pytest.mark.parametrize(
    "place, message", [("file", "this is a file, not a folder"), ("file/below", "cannot create this folder")]
)
def test_a_folder_that_cannot_be(tmp_path: Path, use: type, place: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match=f"{place}: {message}"):
        use(tmp_path / place)


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    assert check_writable(folder) == folder
    assert names(folder) == []


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one works in it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(EnvironmentProblem, match=r"a\.txt: the folder that this runs in is gone"):
        check_file(Path("a.txt"))
    with pytest.raises(EnvironmentProblem, match=r"a\.txt: cannot write: No such file"):
        write_text(Path("a.txt"), "text")


def test_a_library_that_has_its_own_words_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem) as caught, replacing(tmp_path / "a.h5"):
        raise OSError(errno.ENOSPC, "Unable to create file (file write failed: time = Fri Nov 27\n, errno = 28)")
    assert str(caught.value) == f"{tmp_path}/a.h5: cannot write: No space left on device"
    refused = pytest.raises(EnvironmentProblem, match=r"a\.png: cannot write: the file system refuses$")
    with refused, replacing(tmp_path / "a.png"):
        raise OSError("encoder error -2 when writing image file")


def test_text_and_json(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ä\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".model.tlt.17.tmp", ".lock", "model.tlt", "notes.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".lock", "model.tlt", "notes.tmp"]
    remove_leftovers(tmp_path / "none")  # a folder that is not there yet


@pytest.mark.parametrize(
    "content, digest",
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        (b"a" * 2**20 + b"abc", None),  # more than one piece
    ],
)
def test_sha256(tmp_path: Path, content: bytes, digest: str | None) -> None:
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == (digest or hashlib.sha256(content).hexdigest())


def test_the_sha256_of_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="gone: cannot read: No such file"):
        sha256(tmp_path / "gone")


@pytest.mark.parametrize(
    "path, expected",
    [
        ("", ""),
        ("images/a.png", "images/a.png"),
        ("~/images", "/home/me/images"),
        ("$DATA/images", "/data/images"),
        ("${DATA}/images", "/data/images"),
        ("/a/${SET}_2/$SET.json", "/a/train_2/train.json"),
        ("$BELOW/images", "/home/me/below/images"),
        ("/a/5$/b$1", "/a/5$/b$1"),  # no names of variables
        ("~no-such-user/images", "~no-such-user/images"),
    ],
)
def test_home_and_variables(path: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/home/me", "DATA": "/data", "SET": "train", "BELOW": "~/below"}.items():
        monkeypatch.setenv(name, value)
    assert expand(path) == expected


@pytest.mark.parametrize("path", ["$QATKIT_NONE/images", "/a/${QATKIT_NONE}/b"])
def test_a_variable_without_a_value_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QATKIT_NONE", raising=False)
    with pytest.raises(SpecError) as caught:
        expand(path)
    assert str(caught.value).startswith(f"{path}: $QATKIT_NONE is not set")
    monkeypatch.setenv("QATKIT_NONE", "")
    with pytest.raises(SpecError, match="is empty"):
        expand(path)
