import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.dataset.coco import CocoFile, read_coco
from qatkit.dataset.kitti import KittiObject, LabelledObject
from qatkit.errors import DataError

A = {"id": 7, "file_name": "x/a.jpg", "width": 64, "height": 48}
B = {"id": 8, "file_name": "b.jpg", "width": 32, "height": 24}
BOX = {"id": 70, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10.5, 20]}
DOG = {"id": 71, "image_id": 7, "category_id": 2, "bbox": [0, 0, 64, 48], "iscrowd": 1}
LIGHT = KittiObject("trafficlight", (1, 2, 11.5, 22))
CATEGORIES = [{"id": 1, "name": "traffic light"}, {"id": 2, "name": "Dog"}]
COCO: dict[str, Any] = {"images": [A, B], "categories": CATEGORIES, "annotations": [BOX, DOG]}


def _read(folder: Path, content: Any = None, **change: Any) -> CocoFile:
    path = folder / "c.json"
    path.write_text(json.dumps({**COCO, **change} if content is None else content))
    return read_coco(path)


def _message(folder: Path, content: Any = None, **change: Any) -> str:
    """The error, without the path that it begins with."""
    with pytest.raises(DataError) as error:
        _read(folder, content, **change)
    text = str(error.value)
    assert text.startswith(f"{folder / 'c.json'}: ") and "\n" not in text
    return text.removeprefix(f"{folder / 'c.json'}: ")


def _keys(found: CocoFile, name: str) -> list[str]:
    return [item.key for item in found.images[name].objects]


def test_images_have_their_objects(tmp_path: Path) -> None:
    found = _read(tmp_path)
    assert found.categories == {1: "trafficlight", 2: "Dog"}
    assert [(image.file_name, image.width, image.height) for image in found.images.values()] == [
        ("x/a.jpg", 64, 48),
        ("b.jpg", 32, 24),
    ]
    dog = LabelledObject("71", KittiObject("Dog", (0, 0, 64, 48)), crowd=True)
    assert found.images["x/a.jpg"].objects == (LabelledObject("70", LIGHT), dog)
    assert found.images["b.jpg"].objects == ()
    assert (found.path, found.unlisted, found.merged) == (tmp_path / "c.json", 0, 0)


@pytest.mark.parametrize("second", [{**A, "id": 9}, {**A, "id": 9, "file_name": "./x//a.jpg"}])
def test_rows_of_the_same_file_are_one_image(tmp_path: Path, second: dict[str, Any]) -> None:
    found = _read(tmp_path, images=[A, B, second], annotations=[BOX, {**DOG, "image_id": 9}])
    assert list(found.images) == ["x/a.jpg", "b.jpg"]
    assert _keys(found, "x/a.jpg") == ["70", "71"]
    assert found.merged == 1


def test_a_row_given_twice_doubles_nothing(tmp_path: Path) -> None:
    found = _read(tmp_path, images=[A, A, B])
    assert _keys(found, "x/a.jpg") == ["70", "71"]
    assert found.merged == 1


@pytest.mark.parametrize(
    "second, message",
    [
        ({**B, "id": 7}, "image id 7 is given to two files, 'x/a.jpg' and 'b.jpg'"),
        ({**B, "id": "7"}, "image id 7 is given to two files, 'x/a.jpg' and 'b.jpg'"),
        (
            {**A, "id": 9, "width": 32},
            "images 7 and 9 are the same file, 'x/a.jpg', in two sizes, 64 x 48 and 32 x 48",
        ),
    ],
)
def test_images_that_contradict_each_other(tmp_path: Path, second: dict[str, Any], message: str) -> None:
    assert _message(tmp_path, images=[A, second]) == message


@pytest.mark.parametrize("listed, used", [(7, "7"), ("7", 7), ("7", "7"), (7, 7.0), ("a7", "a7")])
def test_ids_as_numbers_and_as_text(tmp_path: Path, listed: Any, used: Any) -> None:
    found = _read(tmp_path, images=[{**A, "id": listed}], annotations=[{**BOX, "image_id": used}])
    assert _keys(found, "x/a.jpg") == ["70"]
    categories = [{"id": "1", "name": "traffic light"}]
    assert _read(tmp_path, categories=categories, annotations=[BOX]).images["x/a.jpg"].objects[0].label == LIGHT


def test_annotations_of_images_that_are_not_listed_are_counted(tmp_path: Path) -> None:
    found = _read(tmp_path, annotations=[BOX, {**BOX, "image_id": 99}, {**BOX, "image_id": "none"}])
    assert (_keys(found, "x/a.jpg"), found.unlisted) == (["70"], 2)


@pytest.mark.parametrize(
    "ids, keys",
    [
        ([70, 71], ["70", "71"]),
        ([70, 70, 70], ["70", "70_row2", "70_row3"]),
        (["5_row3", 5, 5], ["5_row3", "5", "5_row3_row3"]),
    ],
)
def test_each_annotation_is_an_object_with_a_key(tmp_path: Path, ids: list[Any], keys: list[str]) -> None:
    found = _read(tmp_path, annotations=[{**BOX, "id": identity} for identity in ids])
    assert _keys(found, "x/a.jpg") == keys


def test_an_annotation_without_an_id(tmp_path: Path) -> None:
    row = {key: value for key, value in BOX.items() if key != "id"}
    with pytest.raises(DataError, match=r"annotation \(row 2\) of image 7: no id, expected a whole number or a text"):
        _read(tmp_path, annotations=[DOG, row])


@pytest.mark.parametrize(
    "identity, shown", [(None, "null"), ([1], r"\[1\]"), (True, "true"), (1.5, "1.5"), ("", "''")]
)
def test_an_annotation_whose_id_is_none(tmp_path: Path, identity: Any, shown: str) -> None:
    with pytest.raises(DataError, match=f"of image 7: id is {shown}, expected a whole number or a text"):
        _read(tmp_path, annotations=[{**BOX, "id": identity}])


def test_boxes_that_cannot_be_drawn_stay(tmp_path: Path) -> None:
    boxes = [[1.2, 2, 0.5, 20], [30, 2, -10, 20], [1, 2, 0, 0]]
    found = _read(tmp_path, annotations=[{**BOX, "bbox": box} for box in boxes])
    flaws = [item.label.flaw for item in found.images["x/a.jpg"].objects]
    assert flaws == ["no area", "swapped corners", "no area"]


def test_two_categories_of_one_name(tmp_path: Path) -> None:
    categories = [*CATEGORIES, {"id": 3, "name": "Dog"}, CATEGORIES[0]]
    assert _read(tmp_path, categories=categories).categories == {1: "trafficlight", 2: "Dog", 3: "Dog"}


_WANTED = "expected four numbers: x, y, width, height"


@pytest.mark.parametrize(
    "bbox, shown",
    [
        (None, "null"),
        (5, "5"),
        ("1234", "'1234'"),
        ([], "[]"),
        ([1, 2, 3], "[1, 2, 3]"),
        ([1, 2, 3, 4, 5], "[1, 2, 3, 4, 5]"),
        ([1, 2, 3, "4"], "[1, 2, 3, '4']"),
        ([1, 2, 3, None], "[1, 2, 3, null]"),
        ([1, 2, 3, True], "[1, 2, 3, true]"),
        ([1, 2, [3], 4], "[1, 2, [3], 4]"),
        ([1, 2, 3, float("nan")], "[1, 2, 3, NaN]"),
        ([float("-inf"), 2, 3, 4], "[-Infinity, 2, 3, 4]"),
        ([1e38, 0, 3e38, 1], "[1e+38, 0, 3e+38, 1]"),  # x + width is more than a record holds
        ([10**400, 0, 1, 1], "[1000"),
        ({"x": 1}, "{'x': 1}"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, bbox: Any, shown: str) -> None:
    message = _message(tmp_path, annotations=[BOX, {**BOX, "id": 71, "bbox": bbox}])
    assert message.startswith(f"annotation 71 (row 2) of image 7: bbox is {shown}")
    assert message.endswith(_WANTED) and len(message) < 300


@pytest.mark.parametrize(
    "rows, change, message",
    [
        ("annotations", {"image_id": ...}, "annotation 70 (row 1): no image_id, expected a whole number or a text"),
        (
            "annotations",
            {"image_id": None},
            "annotation 70 (row 1) of image null: image_id is null, expected",
        ),
        ("annotations", {"image_id": [7]}, "annotation 70 (row 1) of image [7]: image_id is [7], expected a whole"),
        ("annotations", {"image_id": True}, "annotation 70 (row 1) of image true: image_id is true, expected"),
        ("annotations", {"bbox": ...}, f"annotation 70 (row 1) of image 7: no bbox, {_WANTED}"),
        (
            "annotations",
            {"bbox": ..., "segmentation": [[0, 0, 1, 1, 2, 2]]},
            f"annotation 70 (row 1) of image 7: a segmentation without bbox, {_WANTED}",
        ),
        ("annotations", {"id": ...}, "annotation (row 1) of image 7: no id, expected a whole number or a text"),
        ("annotations", {"category_id": ...}, "annotation 70 (row 1) of image 7: no category_id, expected"),
        (
            "annotations",
            {"category_id": 9},
            "annotation 70 (row 1) of image 7: category_id is 9, expected one that",
        ),
        ("annotations", {"category_id": {}}, "annotation 70 (row 1) of image 7: category_id is {}, expected"),
        ("annotations", {"iscrowd": "0"}, "annotation 70 (row 1) of image 7: iscrowd is '0', expected 0 or 1"),
        ("images", {"id": ...}, "image (row 1): no id, expected a whole number or a text"),
        ("images", {"id": 1.5}, "image 1.5 (row 1): id is 1.5, expected a whole number or a text"),
        ("images", {"id": float("nan")}, "image NaN (row 1): id is NaN, expected a whole number or a text"),
        ("images", {"file_name": ...}, "image 7 (row 1): no file_name, expected a file name"),
        ("images", {"file_name": ""}, "image 7 (row 1): file_name is '', expected a file name"),
        ("images", {"file_name": 7}, "image 7 (row 1): file_name is 7, expected a file name"),
        ("images", {"file_name": "a\0.jpg"}, r"image 7 (row 1): file_name is 'a\x00.jpg', expected a file name"),
        ("images", {"file_name": "\ud800.jpg"}, r"image 7 (row 1): file_name is '\ud800.jpg', expected a file name"),
        ("images", {"width": ...}, "image 7 (row 1): no width, expected a whole number of pixels, 1 or more"),
        ("images", {"height": None}, "image 7 (row 1): height is null, expected a whole number of pixels, 1 or more"),
        ("images", {"width": 0}, "image 7 (row 1): width is 0, expected a whole number of pixels, 1 or more"),
        ("images", {"width": -64}, "image 7 (row 1): width is -64, expected a whole"),
        ("images", {"width": 64.5}, "image 7 (row 1): width is 64.5, expected a whole"),
        ("images", {"width": "64"}, "image 7 (row 1): width is '64', expected a whole"),
        ("images", {"width": 10**30}, "image 7 (row 1): width is 1000"),
        ("categories", {"id": ...}, "category (row 1): no id, expected a whole number"),
        ("categories", {"id": "one"}, "category 'one' (row 1): id is 'one', expected a whole number"),
        ("categories", {"name": ...}, "category 1 (row 1): no name, expected a text"),
        ("categories", {"name": " "}, "category 1 (row 1): name is ' ', expected a text"),
        ("categories", {"name": None}, "category 1 (row 1): name is null, expected a text"),
        ("categories", {"id": 2}, "category id 2 has two names, 'trafficlight' and 'Dog'"),
    ],
)
def test_rows_with_a_fault_are_named(tmp_path: Path, rows: str, change: dict[str, Any], message: str) -> None:
    """In `change`, ... takes a key away."""
    first, *others = COCO[rows]
    row = {key: value for key, value in {**first, **change}.items() if value is not ...}
    assert _message(tmp_path, **{rows: [row, *others]}).startswith(message)


@pytest.mark.parametrize(
    "rows, kind", [("images", "image"), ("annotations", "annotation"), ("categories", "category")]
)
def test_rows_that_are_no_objects(tmp_path: Path, rows: str, kind: str) -> None:
    assert _message(tmp_path, **{rows: [*COCO[rows], "x"]}) == f"{kind} (row 3): 'x', expected an object"


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("rows", [[], {}, None, "abc"])
def test_files_without_rows(tmp_path: Path, key: str, rows: Any) -> None:
    expected = f"no {key}; not a COCO annotation file, or an empty one"
    assert _message(tmp_path, **{key: rows}) == expected
    assert _message(tmp_path, {name: value for name, value in COCO.items() if name != key}) == expected


@pytest.mark.parametrize("content", [[], [COCO], 5, "images"])
def test_json_of_another_kind(tmp_path: Path, content: Any) -> None:
    assert _message(tmp_path, content) == "no images; not a COCO annotation file, or an empty one"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "c.json"
    images = [{**A, "file_name": "žluťoučký.jpg"}]
    path.write_bytes(json.dumps({**COCO, "images": images}, ensure_ascii=False).encode(encoding))
    assert list(read_coco(path).images) == ["žluťoučký.jpg"]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "not JSON: line 1 column 1 cannot be read; the file ends there"),
        (b'{"a": 1,\n "b"', "not JSON: line 2 column 5 cannot be read; the file ends there"),
        (b'{"a": 1,\n\n  ?}', "not JSON: line 3 column 3 cannot be read"),
        (b'{"a": "\xe9"}', "not JSON: no text in UTF-8 or UTF-16"),
        (b"\x89PNG\xff\xfe", "not JSON: no text in UTF-8 or UTF-16"),
        (b"1" * 5000, "cannot read this JSON file: a number with thousands of digits"),
        (b"[" * 100_000, "cannot read this JSON file: lists or objects nested too deep"),
    ],
)
def test_files_that_are_no_json(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        read_coco(path)
    assert str(error.value) == f"{path}: {message}"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_coco(tmp_path / "none.json")
    with pytest.raises(DataError, match="this is a folder, not a file"):
        read_coco(tmp_path)


def test_many_annotations_are_read_quickly(tmp_path: Path) -> None:
    """60 000 of one file and of one id, which takes minutes where each is compared with the others."""
    images = [{**A, "id": number} for number in range(20_000)]
    annotations = [{**BOX, "image_id": number % 20_000} for number in range(60_000)]
    started = time.process_time()
    found = _read(tmp_path, images=images, annotations=annotations)
    assert time.process_time() - started < 20
    assert len(set(_keys(found, "x/a.jpg"))) == 60_000
    assert found.merged == 19_999


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([1, 7, "7"])
)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def _mostly(row: dict[str, Any]) -> st.SearchStrategy[Any]:
    """The row with some of its values replaced or missing, or anything."""
    fields = {key: st.just(value) | _JSON for key, value in {"iscrowd": 0, **row}.items()}
    return st.fixed_dictionaries({}, optional=fields) | st.just(row) | _JSON


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "images": st.lists(_mostly(A) | _mostly(B), min_size=1, max_size=3) | _JSON,
            "annotations": st.lists(_mostly(BOX) | _mostly(DOG), min_size=1, max_size=3) | _JSON,
            "categories": st.lists(_mostly(CATEGORIES[0]) | st.just(CATEGORIES[1]), min_size=1, max_size=3) | _JSON,
        }
    )
    | _JSON
)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        found = read_coco(path)
    except DataError as error:
        assert str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
    else:
        assert found.images and found.categories
