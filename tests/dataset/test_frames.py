import re
from pathlib import Path

import numpy as np
import pytest

from qatkit.dataset.frames import FrameTable, load_frames, missing_images, scan_frames
from qatkit.dataset.picture_file import PictureFile
from qatkit.dataset.record_files import record_files
from qatkit.dataset.records import write_records
from qatkit.errors import DataError, SpecError
from qatkit.spec import DatasetConfig, DataSource
from tests.support.frames import noise, write_image

CLASSES = ("person", "dog")
Objects = list[tuple[str, tuple[float, float, float, float]]]


def _write(path: Path, frames: dict[str, Objects], images: Path | None = None) -> None:
    """A record file, and the images of its frames."""
    records = []
    for name, objects in frames.items():
        write_image((images or path.parent) / f"{name}.png", noise(32, 24))
        corners = zip(("x1", "y1", "x2", "y2"), zip(*(box for _, box in objects)) if objects else [[]] * 4)
        records.append(
            {
                "frame/id": [name],
                "frame/width": [32],
                "frame/height": [24],
                "target/object_class": [label for label, _ in objects],
                **{f"target/coordinates_{key}": list(values) for key, values in corners},
            }
        )
    write_records(path, records)


BOX = (1.0, 2.0, 11.0, 12.0)
OTHER = (3.0, 4.0, 5.0, 6.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folds in two shards each, and the other files that lie around there."""
    _write(tmp_path / "tfr-fold-001-of-002-shard-00001-of-00002", {"images/d": [("pedestrian", BOX)]})
    _write(tmp_path / "tfr-fold-001-of-002-shard-00000-of-00002", {"images/c": [], "images/b": [("tree", BOX)]})
    _write(tmp_path / "tfr-fold-000-of-002-shard-00000-of-00002", {})
    _write(
        tmp_path / "tfr-fold-000-of-002-shard-00001-of-00002",
        {"images/a": [("dog", BOX), ("dontcare", BOX), ("person", OTHER)]},
    )
    (tmp_path / "tfr_warning.json").write_text("{}")
    (tmp_path / "status.json").write_text("{}")
    return tmp_path


def _config(folder: Path, fold: int | None = 0, pattern: str = "*") -> DatasetConfig:
    config = DatasetConfig(image_extension="png")
    config.data_sources.add(tfrecords_path=f"{folder}/{pattern}", image_directory_path=str(folder))
    config.target_class_mapping.update({"person": "person", "pedestrian": "person", "dog": "dog"})
    if fold is not None:
        config.validation_fold = fold
    return config


def test_training_frames_are_those_of_the_other_folds(folder: Path) -> None:
    frames = load_frames(_config(folder), CLASSES, "training")
    assert [Path(path).name for path in frames.image_paths] == ["c.png", "b.png", "d.png"]  # file names are sorted
    assert frames.image_paths[0] == str(folder / "images" / "c.png")
    assert frames.row_splits.tolist() == [0, 0, 0, 1]
    assert frames.class_counts() == {"person": 1, "dog": 0}
    assert frames.max_objects == 1


def test_validation_frames_are_those_of_the_fold(folder: Path) -> None:
    frames = load_frames(_config(folder), CLASSES, "validation")
    assert len(frames) == 1
    assert frames.sizes.tolist() == [[32, 24]]
    boxes, class_ids = frames.objects(0)
    assert (boxes.tolist(), class_ids.tolist()) == ([list(BOX), list(OTHER)], [1, 0])


def test_a_validation_source_leaves_all_folds_to_training(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    _write(other / "records", {"x": [("dog", BOX)]})
    config = _config(folder, fold=None)
    config.validation_data_source.CopyFrom(
        DataSource(tfrecords_path=f"{other}/records", image_directory_path=str(other))
    )
    assert len(load_frames(config, CLASSES, "training")) == 4
    assert load_frames(config, CLASSES, "validation").image_paths == (str(other / "x.png"),)


def test_without_either_there_is_no_validation(folder: Path) -> None:
    config = _config(folder, fold=None)
    assert len(load_frames(config, CLASSES, "training")) == 4
    with pytest.raises(SpecError, match="neither validation_fold nor validation_data_source"):
        load_frames(config, CLASSES, "validation")


def test_sources_keep_their_order_and_weight(folder: Path) -> None:
    config = _config(folder, pattern="tfr-fold-001*")
    config.data_sources.add(
        tfrecords_path=f"{folder}/tfr-fold-000*", image_directory_path=str(folder), source_weight=2.5
    )
    config.ClearField("validation_fold")
    frames = load_frames(config, CLASSES, "training")
    assert frames.sources.tolist() == [0, 0, 0, 1]
    assert frames.weights.tolist() == [1, 1, 1, 2.5]  # 0 in the spec means 1


def test_the_mapping_is_applied_once(folder: Path) -> None:
    config = _config(folder)
    config.target_class_mapping.clear()
    # Without entries for person and dog themselves: applied twice, nothing would be left.
    config.target_class_mapping.update({"pedestrian": "person", "person": "dog"})
    assert load_frames(config, CLASSES, "training").class_counts() == {"person": 1, "dog": 0}
    assert load_frames(config, CLASSES, "validation").class_counts() == {"person": 0, "dog": 1}


def test_dropped_and_absent_classes_are_named(folder: Path, capsys: pytest.CaptureFixture) -> None:
    load_frames(_config(folder), CLASSES, "training")
    warnings = capsys.readouterr().err
    assert "training data: not in target_class_mapping, dropped: tree (1)" in warnings
    assert "training data: no objects of class dog" in warnings
    load_frames(_config(folder), CLASSES, "validation")
    assert capsys.readouterr().err == ""  # nobody expects dontcare to be mapped


def test_a_class_that_the_network_does_not_have(folder: Path) -> None:
    config = _config(folder)
    config.target_class_mapping["dog"] = "canine"
    load_frames(config, CLASSES, "training")  # no dog there
    with pytest.raises(DataError, match="sends 'dog' to 'canine', which cost_function_config does not know"):
        load_frames(config, CLASSES, "validation")


def test_no_object_of_any_class(folder: Path) -> None:
    config = _config(folder)
    config.target_class_mapping.clear()
    config.target_class_mapping["Person"] = "person"
    with pytest.raises(
        DataError, match=r"no object of any class \(person, dog\); the records have: pedestrian, tree"
    ):
        load_frames(config, CLASSES, "training")


@pytest.mark.parametrize("fold, split", [(3, "validation"), (0, "training")])
def test_a_fold_that_leaves_nothing(folder: Path, fold: int, split: str) -> None:
    with pytest.raises(DataError, match=f"validation_fold: {fold} .* \\(fold-00{fold}-of-...\\)"):
        load_frames(_config(folder, fold, "tfr-fold-000*"), CLASSES, split)


def test_record_files_without_frames(folder: Path) -> None:
    with pytest.raises(DataError, match="no validation frames"):
        load_frames(_config(folder, pattern="*00000-of*"), CLASSES, "validation")


@pytest.mark.parametrize("pattern", ["nothing*", "*.json", "images"])
def test_no_record_files(folder: Path, pattern: str) -> None:
    with pytest.raises(DataError, match=r"no record files (match|in this folder)"):
        record_files(f"{folder}/{pattern}")


@pytest.mark.parametrize("pattern", ["", "/", "/*", "/tfr-fold*", "/tfr-fold-00[01]-of-002-shard-*"])
@pytest.mark.parametrize("name", ["records", "a [1]", "b*", "c?[!x]"])
def test_folders_of_any_name_and_folders_alone(folder: Path, name: str, pattern: str) -> None:
    (folder / name).mkdir()
    for path in folder.glob("tfr*"):
        path.rename(folder / name / path.name)
    (folder / name / "a.JPG").touch()
    (folder / name / ".hidden").touch()
    found = record_files(f"{folder}/{name}{pattern}")
    assert [path.name for path in found] == [
        f"tfr-fold-{fold:03d}-of-002-shard-{shard:05d}-of-00002" for fold in (0, 1) for shard in (0, 1)
    ]


def test_a_record_file_alone(folder: Path) -> None:
    path = folder / "tfr-fold-000-of-002-shard-00000-of-00002"
    assert record_files(str(path)) == [path]


@pytest.mark.parametrize(
    "pattern, hint",
    [
        ("none/below/*", "there is no folder {}/none"),
        ("tfr/*", "there are record files {}/tfr-fold-*"),
        ("*.json", "there are record files {}/*"),
        ("images/*", "dataset_convert makes them"),
    ],
)
def test_where_record_files_are_instead(folder: Path, pattern: str, hint: str) -> None:
    (folder / "tfr").mkdir(exist_ok=pattern.startswith("tfr"))
    if pattern.startswith("none"):
        (folder / "tfr").rmdir()
    with pytest.raises(DataError, match=re.escape(hint.format(folder))):
        record_files(f"{folder}/{pattern}")


def test_images_are_found_by_ending(folder: Path) -> None:
    (folder / "images" / "c.png").rename(folder / "images" / "c.PNG")
    assert load_frames(_config(folder), CLASSES, "training").image_paths[0] == str(folder / "images" / "c.PNG")
    (folder / "images" / "c.PNG").rename(folder / "images" / "c.jpg")
    with pytest.raises(
        DataError, match=r"c\.png: no such image \(1 of 3 are missing\) \(there is c\.jpg; image_extension"
    ):
        load_frames(_config(folder), CLASSES, "training")


def test_records_tell_endings_and_rotation(folder: Path) -> None:
    write_image(folder / "images" / "e.JPG", noise(32, 24))
    record = {"frame/id": ["images/e"], "frame/width": [32], "frame/height": [24], "target/object_class": ["dog"]}
    record |= {f"target/coordinates_{key}": [value] for key, value in zip(("x1", "y1", "x2", "y2"), BOX)}
    record |= {"frame/extension": [".jpg"], "frame/exif": ["apply"]}
    write_records(folder / "tfr-fold-001-of-002-shard-00002-of-00003", [record])
    frames = load_frames(_config(folder), CLASSES, "training")
    assert frames.image(3) == PictureFile(str(folder / "images" / "e.JPG"), upright=True)
    assert frames.upright.tolist() == [False, False, False, True]
    write_records(folder / "tfr-fold-001-of-002-shard-00002-of-00003", [{**record, "frame/exif": ["maybe"]}])
    with pytest.raises(DataError, match="'images/e' has frame/exif 'maybe', which this version does not know"):
        load_frames(_config(folder), CLASSES, "training")


def test_folds_that_are_there_are_named(folder: Path) -> None:
    for path in folder.glob("tfr-fold-000*"):
        path.unlink()
    with pytest.raises(DataError, match=r"validation_fold: 0 is in no record file's name .*there are only fold 001"):
        load_frames(_config(folder), CLASSES, "validation")


def test_missing_images_are_counted(folder: Path) -> None:
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "d.png").unlink()
    with pytest.raises(DataError, match=r"images/b\.png: no such image \(2 of 3 are missing\)"):
        load_frames(_config(folder), CLASSES, "training")


def test_a_missing_image_folder(folder: Path) -> None:
    config = _config(folder)
    config.data_sources[0].image_directory_path = "/none"
    with pytest.raises(DataError, match=r"/none: no such folder \(image_directory_path\)"):
        load_frames(config, CLASSES, "training")


def test_a_file_that_holds_no_records_is_named(folder: Path) -> None:
    (folder / "tfr-fold-001-of-002-notes").write_text("not records at all")
    with pytest.raises(DataError, match="tfr-fold-001-of-002-notes: not a TFRecord file"):
        load_frames(_config(folder), CLASSES, "training")


@pytest.mark.parametrize("extension", ["", "."])
def test_no_image_extension(folder: Path, extension: str) -> None:
    config = _config(folder)
    config.image_extension = extension
    with pytest.raises(SpecError, match="no image_extension"):
        load_frames(config, CLASSES, "training")


def test_an_extension_with_its_dot(folder: Path) -> None:
    config = _config(folder)
    config.image_extension = ".png"
    assert len(load_frames(config, CLASSES, "training")) == 3


def test_relative_paths_are_below_data_base_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_BASE_PATH", str(folder.parent))
    config = _config(Path(folder.name))
    assert load_frames(config, CLASSES, "training").image_paths[0] == str(folder / "images" / "c.png")


def test_files_are_sorted_whatever_order_the_file_system_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        f"{folder}/tfr-fold-{fold}" for fold in ("001-of-002-shard-00000-of-00002", "000-of-002-shard-00000-of-00002")
    ]
    monkeypatch.setattr("glob.glob", lambda *args, **kwargs: names)
    assert [str(path) for path in record_files(f"{folder}/*")] == names[::-1]


def test_a_scan_looks_for_no_images_and_returns_its_warnings(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "images" / "b.png").unlink()
    frames, notes = scan_frames(_config(folder), CLASSES, "training")
    assert (len(frames), missing_images(frames)) == (3, [str(folder / "images" / "b.png")])
    assert notes == [
        "training data: not in target_class_mapping, dropped: tree (1)",
        "training data: no objects of class dog",
    ]
    assert capsys.readouterr().err == ""


def test_objects_of_source_classes_that_are_told_apart(folder: Path) -> None:
    """Those of the mapping keep their warnings; what is not mapped is kept, with an id behind the classes'."""
    plain, _ = scan_frames(_config(folder), CLASSES, "training")
    frames, notes = scan_frames(_config(folder), CLASSES, "training", ("tree", "nothing"))
    assert notes == [
        "training data: no objects of class dog",
        "training data: no object is called nothing, which loss_mask_label_filter names",
    ]
    ids = frames.class_ids.tolist()
    assert ids.count(len(CLASSES)) == 1 and len(CLASSES) + 1 not in ids
    assert [number for number in ids if number < len(CLASSES)] == plain.class_ids.tolist()
    assert frames.class_counts() == plain.class_counts()


@pytest.fixture
def table() -> FrameTable:
    """Five frames; the first has one object, the last two."""
    return FrameTable(
        classes=("car",),
        image_paths=tuple("abcde"),
        sizes=np.full((5, 2), (64, 48), np.int32),
        boxes=np.arange(3 * 4, dtype=np.float32).reshape(3, 4),
        class_ids=np.zeros(3, np.int32),
        row_splits=np.array([0, 1, 1, 1, 1, 3]),
        weights=np.ones(5, np.float32),
        sources=np.zeros(5, np.int32),
        upright=np.zeros(5, np.bool_),
    )


@pytest.mark.parametrize("count, names", [(1, "a"), (2, "ae"), (3, "ace"), (9, "abcde")])
def test_samples_are_spread(table: FrameTable, count: int, names: str) -> None:
    assert list(table.sample(count).image_paths) == list(names)


def test_a_subset_keeps_what_belongs_together(table: FrameTable) -> None:
    subset = table.subset([4, 1, 0])
    assert subset.row_splits.tolist() == [0, 2, 2, 3]
    np.testing.assert_array_equal(subset.boxes, table.boxes[[1, 2, 0]])
    np.testing.assert_array_equal(subset.objects(0)[0], table.objects(4)[0])
    assert len(table.subset([])) == 0 and table.subset([]).boxes.shape == (0, 4)
