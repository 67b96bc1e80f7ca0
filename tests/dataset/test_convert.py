import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from qatkit.dataset.convert import convert
from qatkit.dataset.records import read_records
from qatkit.dataset.source import Reading
from qatkit.errors import DataError, QatkitError, SpecError
from qatkit.spec import DatasetExportConfig
from tests.support import golden_data
from tests.support.frames import LINE, kitti_folder, noise, write_image

TOPIC = "11_tfrecord"


def _decoded(path: Path) -> list[dict[str, Any]]:
    """All features of all records, as the reference files have them."""
    records = []
    for data in tf.data.TFRecordDataset(str(path)):
        features = tf.train.Example.FromString(data.numpy()).features.feature
        kinds = {key: feature.WhichOneof("kind") for key, feature in features.items()}
        records.append({key: {"kind": kind, "value": _values(features[key], kind)} for key, kind in kinds.items()})
    return records


def _values(feature: Any, kind: str) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in getattr(feature, kind).value]


@golden_data.parametrize(TOPIC, compat=True)
def test_writes_what_tao_writes(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = golden_data.ROOT / TOPIC
    monkeypatch.setenv("DATA_BASE_PATH", str(root))
    spec = text_format.Merge((root / case["id"] / "spec.txt").read_text(), DatasetExportConfig())
    decoded = json.loads((root / case["id"] / "decoded.json").read_text())
    prefix = re.split(r"-fold-|-shard-|_warning", min(case["files"]))[0]
    convert(spec, tmp_path / prefix, tao_split=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(case["files"])
    for name, expected in decoded.items():
        assert _decoded(tmp_path / name) == expected
    for path in (root / case["id"] / "out").glob("*_warning.json"):  # only where objects are left out
        assert json.loads((tmp_path / path.name).read_text()) == json.loads(path.read_text())


def _kitti(root: Path, **config: object) -> DatasetExportConfig:
    spec = DatasetExportConfig()
    values = {
        "root_directory_path": str(root),
        "image_dir_name": "images",
        "label_dir_name": "labels",
        "image_extension": ".png",
        "partition_mode": "random",
        "num_partitions": 2,
        "num_shards": 0,
        "val_split": 20,
        **config,
    }
    for name, value in values.items():
        setattr(spec.kitti_config, name, value)
    return spec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty images with a car each; 19 has a dog too."""
    car, dog = LINE.format("Car", 1, 2, 11, 12), LINE.format("dog", 3, 3, 9, 9)
    frames = {f"{number:02d}": [car] for number in range(20)}
    return kitti_folder(tmp_path / "data", {**frames, "19": [car, dog]})


def test_validation_images_are_drawn_at_random(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report = convert(_kitti(folder), tmp_path / "out" / "tfr")
    validation, training = (read_records(path).ids for fold in report.folds for path in fold.files)
    assert (len(validation), len(training)) == (4, 16)
    assert sorted(validation + training) == [f"images/{number:02d}" for number in range(20)]
    assert max(validation) > "images/03"
    assert "drawn at random" in capsys.readouterr().out
    assert convert(_kitti(folder), tmp_path / "again" / "tfr").folds[0].objects == report.folds[0].objects
    assert read_records(tmp_path / "again" / "tfr-fold-000-of-002").ids == validation


def test_the_report_counts(folder: Path, tmp_path: Path) -> None:
    report = convert(_kitti(folder), tmp_path / "out" / "tfr", tao_split=True)
    assert report.images == 20
    assert [(fold.fold, fold.images, dict(fold.objects)) for fold in report.folds] == [
        (0, 4, {"car": 4}),
        (1, 16, {"car": 16, "dog": 1}),
    ]
    assert dict(report.objects) == {"car": 20, "dog": 1}
    assert report.class_map == {"Car": "car", "dog": "dog"}
    assert (report.skipped, report.warning_file) == ({}, None)


@pytest.mark.parametrize("val_split, other", [(0, "validation"), (100, "training")])
def test_one_fold_for_all(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, val_split: int, other: str
) -> None:
    report = convert(_kitti(folder, val_split=val_split), tmp_path / "tfr")
    assert [(fold.fold, fold.images) for fold in report.folds] == [(0, 20)]
    assert f"all frames are in one fold, 000: there is no {other} fold" in capsys.readouterr().out


def test_objects_without_area_are_left_out_and_listed(tmp_path: Path) -> None:
    lines = [LINE.format("car", 5, 2, 5.9, 12), LINE.format("car", 1, 2, 11, 12)]
    spec = _kitti(kitti_folder(tmp_path / "data", {"a": lines, "b": []}))
    report = convert(spec, tmp_path / "tfr")
    key = f"{tmp_path}/data/labels/a.txt_0"
    assert report.skipped == {key: (5, 2, 5, 12)}
    assert report.warning_file == tmp_path / "tfr_warning.json"
    assert json.loads(report.warning_file.read_text()) == {key: [5, 2, 5, 12]}
    assert dict(report.objects) == {"car": 1}
    (tmp_path / "data" / "labels" / "a.txt").write_text("")
    convert(spec, tmp_path / "tfr")
    assert not (tmp_path / "tfr_warning.json").exists()  # no longer true


def test_older_files_are_pointed_at(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    convert(_kitti(folder, num_shards=3), tmp_path / "tfr")
    assert "older" not in capsys.readouterr().err
    convert(_kitti(folder, num_shards=3), tmp_path / "tfr")
    assert "older" not in capsys.readouterr().err
    convert(_kitti(folder), tmp_path / "tfr")
    assert "6 older record files with this prefix remain" in capsys.readouterr().err


def _no_label(folder: Path) -> None:
    (folder / "labels" / "07.txt").unlink()


def _broken_label(folder: Path) -> None:
    (folder / "labels" / "07.txt").write_text("Car 1 2\n")


def _no_image(folder: Path) -> None:
    (folder / "images" / "07.png").write_text("nothing")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (_no_label, r"labels/07\.txt: no such label file"),
        (_broken_label, r"labels/07\.txt, line 1: expected 15 fields"),
        (_no_image, r"images/07\.png: not an image"),
    ],
)
def test_nothing_is_written_when_something_is_wrong(folder: Path, tmp_path: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=message):
        convert(_kitti(folder, num_shards=4), tmp_path / "out" / "tfr")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "config, kind, message",
    [
        ({"partition_mode": ""}, SpecError, 'partition_mode is "", expected "random" or "sequence"'),
        ({"num_partitions": 3}, SpecError, 'num_partitions is 3; partition_mode "random" makes 2'),
        ({"val_split": 101}, SpecError, "val_split is 101, expected 0 <= val_split <= 100"),
        ({"partition_mode": "sequence"}, SpecError, "needs kitti_sequence_to_frames_file"),
        ({"root_directory_path": "/none"}, DataError, r"/none: no such folder \(root_directory_path\)"),
        ({"image_dir_name": "none"}, DataError, r"none: no such folder \(image_dir_name\)"),
        ({"image_extension": ".bmp"}, DataError, r"no images \*\.bmp"),
    ],
)
def test_specs_that_make_no_sense(folder: Path, config: dict, kind: type[QatkitError], message: str) -> None:
    with pytest.raises(kind, match=message):
        convert(_kitti(folder, **config), folder / "tfr")


def test_variables_in_the_names_of_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIND", "image")
    config = {"image_dir_name": "${KIND}s", "label_dir_name": "$LABELS"}
    with pytest.raises(SpecError, match=r"\$LABELS: \$LABELS is not set"):
        convert(_kitti(folder, **config), tmp_path / "part")
    monkeypatch.setenv("LABELS", "labels")
    report = convert(_kitti(folder, **config), tmp_path / "part")
    assert report.images == 20
    assert read_records(report.folds[0].files[0]).ids[0].startswith("images/")


def test_neither_kitti_nor_coco(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="neither kitti_config nor coco_config"):
        convert(DatasetExportConfig(), tmp_path / "tfr")


def test_a_validation_fold_that_does_not_exist(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="validation fold 2 does not exist; there are 2, from 0"):
        convert(_kitti(folder), tmp_path / "tfr", validation_fold=2)


@pytest.mark.parametrize(
    "content, message",
    [
        ("[1]", "expected an object"),
        ('{"a": [1]}', "expected an object"),
        ("{", "not JSON: line 1 column 2"),
        ("{}", "no frames"),
        ('{"a": ["99"]}', r"labels/99\.txt: no such label file"),
    ],
)
def test_sequence_files_that_are_wrong(folder: Path, content: str, message: str) -> None:
    (folder / "s.json").write_text(content)
    spec = _kitti(folder, partition_mode="sequence", kitti_sequence_to_frames_file="s.json")
    with pytest.raises(DataError, match=message):
        convert(spec, folder / "out" / "tfr")


def test_an_extension_without_its_dot(folder: Path, tmp_path: Path) -> None:
    assert convert(_kitti(folder, image_extension="png"), tmp_path / "tfr").images == 20


def test_the_sample_modifier_works_on_training_folds(folder: Path, tmp_path: Path) -> None:
    spec = _kitti(folder)
    modifier = spec.sample_modifier_config
    modifier.source_to_target_class_mapping.update({"car": "car", "dog": "dog"})
    modifier.filter_samples_containing_only.append("car")
    report = convert(spec, tmp_path / "tfr", validation_fold=0, tao_split=True)
    assert [(fold.images, dict(fold.objects)) for fold in report.folds] == [
        (4, {"car": 4}),
        (1, {"car": 1, "dog": 1}),
    ]


@pytest.mark.parametrize("output", ["new/", "new/below/", "new [1]/", ".", "new/.."])
def test_a_path_that_ends_in_a_slash_is_a_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    thin = LINE.format("car", 5, 2, 5.9, 12)
    (folder / "labels" / "07.txt").write_text(thin)
    convert(_kitti(folder), output)
    found = sorted(path.name for path in Path(output).resolve().iterdir())
    assert [name for name in found if name != "new"] == ["-fold-000-of-002", "-fold-001-of-002", "_warning.json"]


def test_a_folder_without_folds_and_shards_has_no_name_for_a_file(folder: Path, tmp_path: Path) -> None:
    (folder / "s.json").write_text('{"a": ["07"]}')
    spec = _kitti(folder, partition_mode="sequence", kitti_sequence_to_frames_file="s.json", num_partitions=0)
    with pytest.raises(SpecError, match="without folds and shards a record file needs a name"):
        convert(spec, f"{tmp_path}/out/")


def test_what_is_passed_over_is_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "images" / "00.png").rename(folder / "images" / "00.PNG")  # in letters of any case
    for name in ("x.jpg", "y.jpeg", "z.jpg", "notes", ".hidden", "._07.png"):
        (folder / "images" / name).touch()
    (folder / "images" / "more").mkdir()
    (folder / "labels" / "alone.txt").touch()
    report = convert(_kitti(folder), tmp_path / "tfr")
    assert report.images == 20
    assert report.passed_over == {
        "*.jpg": 2,
        "*.jpeg": 1,
        "files without ending": 1,
        "hidden files": 2,
        "folders": 1,
        "label files without an image": 1,
    }


def test_what_cannot_be_used_is_counted_or_left_out(folder: Path, tmp_path: Path) -> None:
    _no_image(folder)
    (folder / "labels" / "08.txt").unlink()
    (folder / "labels" / "09.txt").unlink()
    counts = "images without a label file 2, unreadable images 1"
    with pytest.raises(DataError, match=f"; 3 of 20 cannot be used: {counts}; --leave_out goes on without them$"):
        convert(_kitti(folder), tmp_path / "tfr")
    report = convert(_kitti(folder), tmp_path / "tfr", leave_out=True)
    assert report.images == 17
    assert report.passed_over == {"images without a label file": 2, "unreadable images": 1}
    assert "images/07" not in [
        name for fold in report.folds for path in fold.files for name in read_records(path).ids
    ]


def test_labels_that_make_no_sense_are_never_left_out(folder: Path, tmp_path: Path) -> None:
    _broken_label(folder)
    (folder / "labels" / "08.txt").write_text("Car 2 0 0 1 2 3 4 0 0 0 0 0 0 0\n")
    with pytest.raises(
        DataError, match=r"labels/0[78]\.txt, line 1: .*; 1 more files with labels that make no sense$"
    ):
        convert(_kitti(folder), tmp_path / "tfr", leave_out=True)


def test_nothing_that_can_be_used(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "labels").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"20 of 20 cannot be used: images without a label file 20$"):
        convert(_kitti(folder), tmp_path / "tfr", leave_out=True)


def test_two_files_of_one_name(folder: Path, tmp_path: Path) -> None:
    (folder / "images" / "07.PNG").touch()
    with pytest.raises(DataError, match=r"07\.PNG and 07\.png would share one label file"):
        convert(_kitti(folder), tmp_path / "tfr")


def test_another_ending_beside_it_is_told_apart(folder: Path, tmp_path: Path) -> None:
    write_image(folder / "images" / "07.jpg", noise(32, 24))
    report = convert(_kitti(folder), tmp_path / "tfr")
    records = [read_records(path) for fold in report.folds for path in fold.files]
    assert {extension for part in records for extension in part.extensions} == {".png"}


@pytest.mark.parametrize("decode", [True, False])
def test_a_picture_that_is_cut_off(folder: Path, tmp_path: Path, decode: bool) -> None:
    path = write_image(folder / "images" / "07.png", noise(64, 64))
    path.write_bytes(path.read_bytes()[:2000])
    if not decode:
        assert convert(_kitti(folder), tmp_path / "tfr", reading=Reading(decode=False)).images == 20
        return
    with pytest.raises(DataError, match=r"07\.png: damaged image"):
        convert(_kitti(folder), tmp_path / "tfr")


def test_exif_rotation(folder: Path, tmp_path: Path) -> None:
    """Labels drawn on the picture as it is shown: 24 wide, 32 high."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(32, 24)).save(folder / "images" / "07.png", exif=exif)
    (folder / "labels" / "07.txt").write_text(
        LINE.format("car", 2, 2, 20, 30) + "\n" + LINE.format("car", 1, 1, 9, 9)
    )
    ignored = convert(_kitti(folder), tmp_path / "tfr")
    assert [note.partition(", which")[0] for note in ignored.tally.notes()] == ["1 image carries an EXIF rotation"]
    assert "1 of 2 boxes in them reach beyond the image" in next(ignored.tally.notes())
    applied = convert(_kitti(folder), tmp_path / "tfr", reading=Reading("apply"))
    assert "which is applied" in next(applied.tally.notes())
    records = [read_records(path) for fold in applied.folds for path in fold.files]
    assert all(part.upright.all() for part in records)
    sizes = {name: size for part in records for name, size in zip(part.ids, part.sizes.tolist())}
    assert (sizes["images/07"], sizes["images/08"]) == ([24, 32], [32, 24])
