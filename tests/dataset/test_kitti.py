from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatkit.dataset.kitti import KittiObject, label_names, parse_line, read_labels
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
        (f"traffic {LINE} 0.9", "expected 15 fields (16 with a score), found 17 (class name with a space?)"),
        (f"traffic light of {LINE}", "found 18 (class name with a space?)"),
        (f"traffic {LINE}", "field 2 is 'Car', expected a number (class name with a space?)"),
        (LINE.replace("0.50 2", "light 2"), "field 2 is 'light', expected a number (class name with a space?)"),
        (LINE.replace("0.50 2", "2 2"), "field 2 is '2', expected a truncation: -1, or 0 to 1"),
        (LINE.replace("0.50 2", "-0.5 2"), "field 2 is '-0.5', expected a truncation"),
        (LINE.replace("0.50 2", "0.50 4"), "field 3 is '4', expected an occlusion: -1, 0, 1, 2 or 3"),
        (LINE.replace("0.50 2", "0.50 0.5"), "field 3 is '0.5', expected an occlusion"),
        (
            f"Class {LINE.replace('Car', '2')}",
            "field 2 is '2', expected a truncation: -1, or 0 to 1 (class name with",
        ),
        (
            f"Class {LINE.replace('Car', '1')}",
            "field 3 is '0.50', expected an occlusion: -1, 0, 1, 2 or 3 (class name",
        ),
        (
            "a 0 0 0 30 20 10 40 0 0 0 0 0 0 0 0.9",
            "fields 5 to 8 are 30 20 10 40, expected x1 <= x2 and y1 <= y2 (cl",
        ),
        ("a 0 0 0 10 40 30 20 0 0 0 0 0 0 0 0.9", "fields 5 to 8 are 10 40 30 20, expected x1 <= x2 and y1 <= y2"),
        (LINE.replace("30.25", "1e39"), "field 7 is '1e39', expected a number"),  # too large for a record
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
    "line",
    [
        "Class 1 0.00 0 0.00 100 120 200 240 0 0 0 0 0 0 0",
        "Class 1 0 0 0 100 120 200 240 1.5 1.6 3.9 0 1.5 20 0.1",
        "Class 0 0.00 0 -10 100 120 200 240 -1 -1 -1 -1000 -1000 -1000 -10",
        "Class 1 -1 -1 -10 100 120 200 240 -1 -1 -1 -1000 -1000 -1000 -10",
        "Class 1 1 3 3.14 100 120 200 240 0 0 0 0 0 0 0",
        "Class 1 0.00 0 0.00 100 0 200 240 0 0 0 0 0 0 0",  # no area as 15 fields and a score
        "Class 1 0.00 0 0.00 100 120 200 120 0 0 0 0 0 0 0",  # no area as a class of two words
    ],
)
def test_16_fields_that_may_be_15_are_refused(line: str) -> None:
    with pytest.raises(
        ValueError, match=r"fields 1 and 2 may both be the class name, 'Class .*' \(class name with a sp"
    ):
        parse_line(line)


@pytest.mark.parametrize(
    "line",
    [
        "car 0.00 0 0.00 100 120 200 240 0 0 0 0 0 0 0 0.93",
        "car 0.00 0 0.00 0 120 200 240 0 0 0 0 0 0 0 0.93",  # at the left border
        "car 0.00 0 0.00 3.5 120 200 240 0 0 0 0 0 0 0 1",
        "car 0 0 0 0 0 9 9 0 0 0 0 0 0 0 1",
        "car 0 0 0 2 0 12 9 1.5 1.6 3.9 0 1.5 20 0.1 0.5",
        "car 1 1 3 5 10 20 30 1.5 1.6 3.9 0 1.5 20 0.1 1",
        "car -1 -1 -10 0.00 0.00 64.00 48.00 -1 -1 -1 -1000 -1000 -1000 -10 0.2",
        "car 0.00 0 0.00 0.000 12.000 0.000 240.000 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.930",  # no area either way
    ],
)
def test_16_fields_with_a_score_are_read(line: str) -> None:
    item = parse_line(line)
    assert item.class_name == "car"
    assert item.box == tuple(map(float, line.split()[4:8]))
    assert item.score == float(line.split()[15])


@pytest.mark.parametrize(
    "box, flaw",
    [
        ((0, 0, 1, 1), ""),
        ((3.1, 0, 3.9, 9), "no area"),  # 3 to 3 in whole pixels
        ((3.9, 0, 4.1, 9), ""),
        ((-0.9, 0, 0.9, 9), "no area"),  # truncated towards zero on both sides
        ((5, 0, 5, 9), "no area"),
        ((5, 0, 2, 9), "swapped corners"),
        ((2, 9, 5, 0), "swapped corners"),
        ((3.9, 0, 3.1, 9), "swapped corners"),
    ],
)
def test_boxes_that_cannot_be_drawn(box: tuple[float, ...], flaw: str) -> None:
    item = parse_line("a 0 0 0 {} {} {} {} 0 0 0 0 0 0 0".format(*box))
    assert item.flaw == flaw
    assert item.is_drawable is (flaw == "")


_NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)


_TRUNCATION = st.just(-1.0) | st.floats(0, 1, width=32)


@given(_TRUNCATION, st.integers(-1, 3), st.lists(_NUMBER, min_size=12, max_size=12))
def test_what_is_written_is_read(truncation: float, occlusion: int, others: list[float]) -> None:
    item = parse_line(" ".join(["Car", repr(truncation), str(occlusion), *map(repr, others)]))
    found = [item.observation_angle, *item.box, *item.dimensions, *item.location, item.rotation_y]
    assert (item.truncation, item.occlusion, item.score) == (truncation, occlusion, None)
    assert found == others


_PIXEL = st.floats(0, 1e4, width=32)


@given(_TRUNCATION, st.integers(-1, 3), _NUMBER, st.lists(_PIXEL, min_size=4, max_size=4), st.floats(0, 1))
def test_any_ordered_box_with_a_score_is_read(
    truncation: float, occlusion: int, angle: float, corners: list[float], score: float
) -> None:
    """As inference writes them: without dimensions."""
    x1, x2, y1, y2 = *sorted(corners[:2]), *sorted(corners[2:])
    values = (angle, x1, y1, x2, y2, 0, 0, 0, 0, 0, 0, 0, score)
    item = parse_line(f"car {truncation!r} {occlusion} {' '.join(map(repr, values))}")
    assert (item.box, item.score) == ((x1, y1, x2, y2), score)


_WORD = st.sampled_from(["0", "1", "-1", "0.00", "-10", "3.14", "100", "nan", "car", "1e400"]) | st.text(max_size=3)


@given(st.text() | st.lists(_WORD, min_size=14, max_size=18).map(" ".join))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_line(text)
    except ValueError as error:
        assert str(error).startswith(("expected 15 fields", "field ", "fields "))
    else:
        assert len(text.split()) in (15, 16)


@pytest.mark.parametrize(
    "images, labels",
    [
        ([], []),
        (["a.png", "b.c.png", "A.png"], ["a.txt", "b.c.txt", "A.txt"]),
        (["a.png", "a.jpg", "b.jpg"], ["a.png.txt", "a.jpg.txt", "b.txt"]),
        (["a.png", "a.jpg", "a.png.bmp"], ["a.png.txt", "a.jpg.txt", "a.png.bmp.txt"]),
        (["a.png.bmp", "a.png"], ["a.png.txt", "a.txt"]),
    ],
)
def test_label_files_have_names_of_their_own(images: list[str], labels: list[str]) -> None:
    assert list(label_names(images).values()) == labels


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "png", "txt"]), min_size=1, max_size=4).map(".".join), unique=True)
)
def test_no_two_label_files_have_the_same_name(images: list[str]) -> None:
    labels = list(label_names(images).values())
    assert len(set(labels)) == len(images)
