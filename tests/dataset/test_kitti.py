from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatkit.dataset.kitti import KittiObject, parse_line, read_labels
from qatkit.errors import DataError

LINE = "Car 0.50 2 -1.57 10.5 20 30.25 40 1 2 3 4 5 6 7"
CAR = KittiObject("Car", (10.5, 20.0, 30.25, 40.0), 0.5, 2, -1.57, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 7.0)


@pytest.mark.parametrize(
    "text, objects",
    [
        ("", []),
        ("\n  \n", []),
        (LINE, [CAR]),
        (f"{LINE}\n\n{LINE}\n", [CAR, CAR]),
        (f"\ufeff{LINE}\r\n", [CAR]),  # byte order mark and line ends of Windows
        (f"{LINE} 0.9", [KittiObject(*[*vars(CAR).values()][:-1], score=0.9)]),
    ],
)
def test_read_labels(tmp_path: Path, text: str, objects: list[KittiObject]) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    assert read_labels(path) == objects


@pytest.mark.parametrize(
    "line, message",
    [
        ("Car 1 2 3", "expected 15 fields (16 with a score), found 4"),
        (f"traffic {LINE} 0.9", "found 17"),
        (LINE.replace("30.25", "wide"), "field 7 is 'wide', expected a number"),
        (LINE.replace("30.25", "nan"), "field 7 is 'nan'"),
        (LINE.replace("30.25", "inf"), "field 7 is 'inf'"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{LINE}\n{line}\n")
    with pytest.raises(DataError) as error:
        read_labels(path)
    assert message in str(error.value)
    assert f"{path}, line 2" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt: no such label file"):
        read_labels(tmp_path / "a.txt")


def test_binary_is_not_a_label_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt: cannot read"):
        read_labels(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "box, drawable",
    [
        ((0, 0, 1, 1), True),
        ((3.1, 0, 3.9, 9), False),  # 3 to 3 in whole pixels
        ((3.9, 0, 4.1, 9), True),
        ((-0.9, 0, 0.9, 9), False),  # truncated towards zero on both sides
        ((5, 0, 2, 9), False),
    ],
)
def test_boxes_without_area_in_whole_pixels(box: tuple[float, ...], drawable: bool) -> None:
    assert parse_line("a 0 0 0 {} {} {} {} 0 0 0 0 0 0 0".format(*box)).is_drawable is drawable


_NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(_NUMBER, min_size=13, max_size=14), st.integers(-1, 3))
def test_what_is_written_is_read(values: list[float], occlusion: int) -> None:
    truncation, *others = values
    item = parse_line(" ".join(["Car", repr(truncation), str(occlusion), *map(repr, others)]))
    found = [item.observation_angle, *item.box, *item.dimensions, *item.location, item.rotation_y]
    assert (item.truncation, item.occlusion) == (truncation, occlusion)
    assert found == others[:12]
    assert item.score == (others[12] if len(others) == 13 else None)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_line(text)
    except ValueError as error:
        assert str(error).startswith(("expected 15 fields", "field "))
    else:
        assert len(text.split()) in (15, 16)
