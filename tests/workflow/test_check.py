from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.errors import DataError, QatkitError, SpecError, UsageError
from qatkit.spec import to_text
from qatkit.workflow.check import CheckReport, check
from tests.support.datasets import experiment, write_frames
from tests.support.frames import LINE, kitti_folder
from tests.support.spec_strategies import any_message, any_text
from tests.support.specs import COCO, EXPERIMENT, INFERENCE, KITTI

CAR = ("car", (10.0, 10.0, 60.0, 60.0))
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text to a file of the given name."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


def ending(report: CheckReport) -> type[QatkitError] | None:
    """The error that the report ends with."""
    try:
        report.raise_for_errors()
    except QatkitError as error:
        return type(error)
    return None


def test_nothing_to_check() -> None:
    with pytest.raises(UsageError, match="nothing to check"):
        check()


@pytest.mark.parametrize(
    "kind, text", [("experiment", EXPERIMENT), ("dataset_export", KITTI), ("inference", INFERENCE)]
)
def test_a_good_spec_alone(write: Write, kind: str, text: str) -> None:
    path = write("spec.txt", text)
    report = check(**{kind: path})
    assert list(report.specs) == [kind]
    assert (report.errors, report.warnings, ending(report)) == ([], [], None)
    assert report.specs[kind].path == path and report.specs[kind].text
    assert report.data.not_here and report.data.splits == {} and report.data.conversion is None


def test_effective_values(write: Write) -> None:
    report = check(write("spec.txt", EXPERIMENT)).specs["experiment"]
    assert "checkpoint_interval: 10" in report.text
    assert report.values["training_config"]["checkpoint_interval"] == 10
    assert report.values["training_config"]["enable_qat"] is False


def test_all_errors_and_warnings(write: Write) -> None:
    text = EXPERIMENT.replace("0.05", "7").replace("0.4", "9").replace("num_epochs: 4", "enable_qat: true")
    text = text.replace("output_image_height: 48", "output_image_height: 50")
    text = text.replace('target_class_mapping { key: "car"', 'target_class_mapping { key: "bus" value: "bus" } #')
    text = text.replace('arch: "resnet"', 'arch: "lenet" dropout_rate: 0.5')
    text = text.replace('key: "car" value: 0.5', 'key: "van" value: 0.5')
    path = write("spec.txt", text)
    report = check(path)
    assert [line.removeprefix(f"{path}: ").split(" ")[0] for line in report.errors] == [
        "cost_function_config.target_classes[0].coverage_foreground_weight",
        "training_config.num_epochs",
        'bbox_rasterizer_config.target_class_config["car"].cov_radius_x',
        'bbox_rasterizer_config.target_class_config["car"].cov_radius_y',
        "model_config.arch",
        "evaluation_config.minimum_detection_ground_truth_overlap",
        "dataset_config.target_class_mapping",
        "augmentation_config.preprocessing.output_image_height:",
        "training_config.enable_qat",
    ]
    entry = 'evaluation_config.minimum_detection_ground_truth_overlap["van"] (no class of cost_function_config)'
    assert report.warnings[0] == f"{path}: read but not used: model_config.dropout_rate; {entry}"
    with pytest.raises(SpecError, match="not valid: 9 errors, 2 warnings"):
        report.raise_for_errors()


@pytest.mark.parametrize("text", ["", "training_config {", "num_epochs: 3"])
def test_a_file_that_is_no_spec(write: Write, text: str) -> None:
    path = write("spec.txt", text)
    report = check(path)
    assert (len(report.errors), report.specs["experiment"].text, ending(report)) == (1, "", SpecError)
    assert report.errors[0].startswith(f"{path}:") and report.errors[0].count(str(path)) == 1


def test_a_file_that_is_no_spec_is_told_with_line_and_column(write: Write) -> None:
    path = write("spec.txt", "random_seed: 1\nseed: 2")
    assert check(path).errors[0].startswith(f'{path}:2:1: unknown field "seed"')


def test_a_missing_file(tmp_path: Path) -> None:
    assert check(tmp_path / "none").errors == [f"{tmp_path}/none: no such file"]


def test_specs_together(write: Write) -> None:
    spec = write("spec.txt", EXPERIMENT)
    export = write("convert.txt", KITTI.replace("val_split: 20", 'val_split: 20 image_extension: ".jpg"'))
    inference = write("infer.txt", INFERENCE.replace("image_width: 64", "image_width: 48"))
    assert check(None, export, inference).errors == []
    assert check(spec, export, inference).errors == [
        f'{export}: dataset_config.image_extension is "png", but kitti_config converts "jpg" images',
        f"{inference}: inferencer_config has 48x48x3 images, the training spec makes a network for 64x48x3",
    ]


def test_data(tmp_path: Path) -> None:
    write_frames(tmp_path, 0, {"a": [CAR]})
    write_frames(tmp_path, 1, {"b": [CAR, CAR], "c": []})
    report = check(experiment(tmp_path))
    assert (report.errors, report.warnings, report.data.not_here) == ([], [], [])
    found = {
        split: (statistics.images, statistics.classes[0].objects) for split, statistics in report.data.splits.items()
    }
    assert found == {"training": (2, 2), "validation": (1, 1)}


def test_data_of_which_images_are_missing(tmp_path: Path) -> None:
    write_frames(tmp_path, 0, {"a": [CAR]})
    write_frames(tmp_path, 1, {"b": [CAR], "c": [("tree", (0.0, 0.0, 50.0, 50.0))]})
    (tmp_path / "images" / "b.png").unlink()
    report = check(experiment(tmp_path))
    assert report.errors == [
        f"training data: {tmp_path}/images/b.png: no such image (1 of 2 are missing) (an image is "
        "image_directory_path / frame id . image_extension)"
    ]
    assert report.warnings == ["training data: not in target_class_mapping, dropped: tree (1)"]
    with pytest.raises(DataError, match="not valid: 1 error, 1 warning"):
        report.raise_for_errors()


def test_data_that_training_would_refuse(tmp_path: Path) -> None:
    damaged = write_frames(tmp_path, 0, {"a": [CAR]})
    damaged.write_bytes(b"short")
    write_frames(tmp_path, 1, {"b": [("Car", CAR[1])]})
    report = check(experiment(tmp_path))
    assert [line.partition(" (")[0] for line in report.errors] == [
        "training data: no object of any class",
        f"{damaged}: not a TFRecord file, or damaged",
    ]
    assert ending(report) is DataError


def test_a_missing_folder_is_told_once(tmp_path: Path) -> None:
    for fold in (0, 1):
        write_frames(tmp_path, fold, {"a": [CAR]})
    report = check(experiment(tmp_path, (f'"{tmp_path}/images"', '"/none"')))
    assert report.errors == ["/none: no such folder (image_directory_path)"]


def test_errors_of_specs_count_more_than_those_of_data(tmp_path: Path, write: Write) -> None:
    write_frames(tmp_path, 0, {"a": [CAR]})
    write_frames(tmp_path, 1, {"b": [CAR]}).write_bytes(b"short")
    spec = experiment(tmp_path, ("output_image_height: 48", "output_image_height: 50"))
    report = check(spec)  # training takes it, so that its data are looked at
    assert (len(report.spec_errors), len(report.data.errors), ending(report)) == (1, 1, SpecError)


def test_a_spec_that_nobody_takes_has_no_data(tmp_path: Path) -> None:
    write_frames(tmp_path, 0, {"a": [CAR]})
    report = check(experiment(tmp_path, ("num_epochs: 4", "num_epochs: 0")))
    assert (report.data.splits, report.data.not_here) == ({}, [])


def test_what_is_not_here_is_named(write: Write) -> None:
    spec = write("spec.txt", EXPERIMENT.replace('arch: "resnet"', 'arch: "resnet" pretrained_model_file: "/a.tlt"'))
    report = check(spec, write("convert.txt", COCO), write("infer.txt", INFERENCE))
    assert report.data.not_here == [
        "training data: no record files match records/*",
        "validation data: no record files match records/*",
        "model_config.pretrained_model_file: no file /a.tlt",
        "labels: no folder data",
        "tlt_config.model: no file model.tlt",
    ]


def test_variables_in_paths(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the commands resolve them; what is not set is named."""
    write_frames(tmp_path, 0, {"a": [CAR]})
    write_frames(tmp_path, 1, {"b": [CAR]})
    write("model.tlt", "")
    root, model = str(tmp_path), '"$PLACE/model.tlt"'
    pretrained = ('arch: "resnet"', f'arch: "resnet" pretrained_model_file: {model}')
    spec = experiment(tmp_path, (root, "${PLACE}"), pretrained)
    specs = (
        write("convert.txt", KITTI.replace('"data"', '"$PLACE"')),
        write("infer.txt", INFERENCE.replace('"model.tlt"', model)),
    )
    monkeypatch.delenv("PLACE", raising=False)
    report = check(spec, *specs)
    assert (report.errors, len(report.data.not_here)) == ([], 5)
    assert all("$PLACE is not set" in line for line in report.data.not_here)
    monkeypatch.setenv("PLACE", root)
    report = check(spec, *specs)
    assert set(report.data.splits) == {"training", "validation"}
    assert report.data.not_here == []
    experiment(tmp_path, (f"{root}/images", "$NO_IMAGES"))
    monkeypatch.delenv("NO_IMAGES", raising=False)
    assert "$NO_IMAGES is not set" in check(spec).errors[0]


def test_labels(tmp_path: Path, write: Write) -> None:
    car, thin = LINE.format("Car", 1, 2, 30, 22), LINE.format("Car", 1, 2, 1.5, 22)
    root = kitti_folder(tmp_path / "data", {str(number): [car, thin] for number in range(8)})
    for number in range(6):
        (root / "labels" / f"{number}.txt").write_text("car\n")
    export = write("convert.txt", KITTI.replace('"data"', f'"{root}"'))
    report = check(write("spec.txt", EXPERIMENT), export)
    assert report.data.conversion is not None and report.data.conversion.objects == {"car": 2}
    assert report.data.conversion.classes[0].objects == 2
    assert len(report.errors) == 6 and report.errors[-1] == "labels: 1 more images that cannot be used"
    assert report.warnings == ["labels: objects left out: no area 2"]


def test_labels_that_are_not_there(tmp_path: Path, write: Write) -> None:
    (tmp_path / "data").mkdir()
    report = check(None, write("convert.txt", KITTI.replace('"data"', f'"{tmp_path}/data"')))
    assert report.errors == [f"{tmp_path}/data/images: no such folder (image_dir_name)"]
    assert ending(report) is DataError


def test_json(tmp_path: Path) -> None:
    write_frames(tmp_path, 0, {"a": [CAR]})
    path = experiment(tmp_path, ("num_epochs: 4", "num_epochs: 4 checkpoint_interval: 2"))
    values = json.loads(json.dumps(check(path).to_json()))
    assert values["valid"] is False  # nothing to train on
    assert values["errors"] == values["data"]["errors"] and len(values["errors"]) == 1
    spec = values["specs"]["experiment"]
    assert (spec["file"], spec["errors"], spec["warnings"]) == (str(path), [], [])
    assert spec["effective"]["training_config"]["checkpoint_interval"] == 2
    assert values["data"]["splits"]["validation"]["classes"][0]["objects"] == 1


@given(
    any_message().map(to_text) | any_text,
    any_message().map(to_text) | st.just(EXPERIMENT),
    st.sampled_from([KITTI, COCO, INFERENCE]),
)
@settings(max_examples=100, deadline=None)
def test_any_texts_are_reported(first: str, second: str, third: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, text in enumerate((first, second, third)):
            paths.append(Path(folder, f"{number}.txt"))
            paths[-1].write_bytes(text.encode("utf-8", errors="replace"))
        for order in (paths, paths[1:] + paths[:1], paths[2:] + paths[:2]):
            report = check(*order)
            assert all(line.isprintable() for line in (*report.errors, *report.warnings))
            json.dumps(report.to_json())
