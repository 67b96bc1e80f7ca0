import json
from pathlib import Path
from typing import Any

import pytest

from qatkit.dataset.convert import convert
from qatkit.dataset.records import read_records
from qatkit.errors import DataError, QatkitError, SpecError
from qatkit.spec import DatasetExportConfig
from tests.support.frames import noise, write_image

COCO = {
    "images": [
        {"id": 7, "file_name": "x/a.jpg", "width": 64, "height": 48},
        {"id": 8, "file_name": "b.jpg", "width": 32, "height": 24},
    ],
    "categories": [{"id": 1, "name": "traffic light"}, {"id": 2, "name": "Dog"}],
    "annotations": [
        {"id": 70, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10.5, 20], "iscrowd": 1},
        {"id": 71, "image_id": 7, "category_id": 2, "bbox": [1.2, 2, 0.5, 20]},
        {"id": 72, "image_id": 7, "category_id": 2, "bbox": [0, 0, 64, 48]},
    ],
}


def _coco(root: Path, *contents: Any, **config: object) -> DatasetExportConfig:
    """A spec for annotation files, with the images that they list."""
    spec = DatasetExportConfig()
    spec.coco_config.root_directory_path = str(root)
    for number, content in enumerate(contents):
        (root / f"{number}.json").write_text(json.dumps(content))
        (root / f"images{number}").mkdir()
        for row in content["images"] if isinstance(content, dict) else []:
            write_image(root / f"images{number}" / row["file_name"], noise(row["width"], row["height"]))
        spec.coco_config.annotation_files.append(f"{number}.json")
        spec.coco_config.img_dir_names.append(f"images{number}")
    spec.coco_config.num_partitions = len(contents)
    spec.coco_config.num_shards.extend([1])
    for name, value in config.items():
        setattr(spec.coco_config, name, value)
    return spec


def test_coco(tmp_path: Path) -> None:
    second = {**COCO, "images": COCO["images"][:1], "annotations": COCO["annotations"][2:]}
    report = convert(_coco(tmp_path, COCO, second), tmp_path / "tfr")
    assert [path.name for fold in report.folds for path in fold.files] == [
        "tfr-fold-000-of-002-shard-00000-of-00001",
        "tfr-fold-001-of-002-shard-00000-of-00001",
    ]
    first, other = (read_records(path) for fold in report.folds for path in fold.files)
    assert (first.ids, other.ids) == (("images0/x/a", "images0/b"), ("images1/x/a",))
    assert first.sizes.tolist() == [[64, 48], [32, 24]]
    assert first.counts.tolist() == [2, 0]
    assert first.class_names == ("trafficlight", "dog")
    assert first.boxes.tolist() == [[1, 2, 11.5, 22], [0, 0, 64, 48]]
    assert report.skipped == {"71": (1, 2, 1, 22)}
    assert list(report.tally.notes()) == [
        "objects left out: no area 1",
        "crowds (iscrowd: 1): 1, each kept as one object, as in TAO",
    ]
    assert not report.passed_over


@pytest.mark.parametrize(
    "contents, config, kind, message",
    [
        ([], {}, SpecError, "num_partitions must be the number of annotation_files"),
        ([COCO], {"num_partitions": 2}, SpecError, "num_partitions must be the number of annotation_files"),
        ([{**COCO, "images": []}], {}, DataError, r"0\.json: no images"),
        ([[]], {}, DataError, r"0\.json: no images"),
        ([{**COCO, "categories": [{"id": 1}]}], {}, DataError, r"0\.json: category 1 \(row 1\): no name"),
        (
            [COCO, {**COCO, "categories": [*COCO["categories"], {"id": 3, "name": "c"}]}],
            {},
            DataError,
            "category ids",
        ),
    ],
)
def test_coco_files_that_are_wrong(
    tmp_path: Path, contents: list[Any], config: dict, kind: type[QatkitError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        convert(_coco(tmp_path, *contents, **config), tmp_path / "tfr")


def test_coco_without_shards(tmp_path: Path) -> None:
    spec = _coco(tmp_path, COCO)
    del spec.coco_config.num_shards[:]
    assert [path.name for path in convert(spec, tmp_path / "tfr").folds[0].files] == ["tfr-fold-000-of-001"]


def test_what_is_not_listed_is_counted(tmp_path: Path) -> None:
    stranger = {"id": 1, "image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]}
    spec = _coco(tmp_path, {**COCO, "annotations": [*COCO["annotations"], stranger]})
    write_image(tmp_path / "images0" / "c.jpg", noise(8, 8))
    assert convert(spec, tmp_path / "tfr").passed_over == {
        "images that are not listed": 1,
        "annotations of images that are not listed": 1,
    }


def test_every_image_is_opened(tmp_path: Path) -> None:
    spec = _coco(tmp_path, COCO)
    (tmp_path / "images0" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"images0/b\.jpg: no such image file; 1 of 2 cannot be used"):
        convert(spec, tmp_path / "tfr")
    write_image(tmp_path / "images0" / "b.jpg", noise(24, 32))
    with pytest.raises(DataError, match=r"b\.jpg: the image is 24 x 32, .*0\.json says 32 x 24; 1 of 2"):
        convert(spec, tmp_path / "tfr")
    report = convert(spec, tmp_path / "tfr", leave_out=True)
    assert (report.images, dict(report.passed_over)) == (
        1,
        {"images of another size than the annotations say": 1},
    )


def test_endings_are_told_where_ids_do_not_tell_them(tmp_path: Path) -> None:
    images = [{**COCO["images"][0], "file_name": "a.JPG"}, {**COCO["images"][1], "file_name": "a.png"}]
    report = convert(_coco(tmp_path, {**COCO, "images": images}), tmp_path / "tfr")
    records = read_records(report.folds[0].files[0])
    assert (records.ids, records.extensions) == (("images0/a", "images0/a"), (".jpg", ".png"))
    assert records.counts.tolist() == [2, 0]
