from __future__ import annotations

from pathlib import Path

import pytest

from qatkit.analysis.dataset import ClassStatistics, conversion_statistics, split_statistics
from qatkit.errors import DataError
from qatkit.spec import DatasetExportConfig, Experiment, load_dataset_export, load_experiment
from tests.support.datasets import experiment, write_frames
from tests.support.frames import LINE, kitti_folder
from tests.support.specs import KITTI

# The images are twice as large as the network's input.
CELL = ("car", (0.0, 0.0, 32.0, 32.0))
WIDE = ("car", (0.0, 0.0, 40.0, 20.0))
LOW = ("car", (0.0, 40.0, 60.0, 50.0))
LARGE = ("car", (-20.0, -10.0, 60.0, 80.0))
OUTSIDE = ("car", (127.0, 0.0, 300.0, 50.0))


def spec_of(root: Path, *replacements: tuple[str, str]) -> Experiment:
    return load_experiment(experiment(root, *replacements))


def with_bus(spec: Experiment) -> Experiment:
    """The spec with a second class, treated like the first."""
    spec.cost_function_config.target_classes.add().CopyFrom(spec.cost_function_config.target_classes[0])
    spec.cost_function_config.target_classes[1].name = "bus"
    for table in (spec.postprocessing_config.target_class_config, spec.evaluation_config.evaluation_box_config):
        table["bus"].CopyFrom(table["car"])
    spec.evaluation_config.minimum_detection_ground_truth_overlap["bus"] = 0.5
    spec.dataset_config.target_class_mapping["bus"] = "bus"
    return spec


def test_no_objects_of_a_class(tmp_path: Path) -> None:
    write_frames(tmp_path, 1, {"a": [("bus", (0, 0, 90, 90))]})
    statistics = split_statistics(with_bus(spec_of(tmp_path)), "training")
    assert statistics.classes == (
        ClassStatistics("car", 0, None, 0, 0, 0, 0, 0),
        ClassStatistics("bus", 1, (45, 45), 0, 0, 0, 0, 0),
    )
    assert statistics.notes == ("training data: no objects of class car",)


# In the network: 16x16, 20x10, 30x5, 30x40 (cut at the left and the top), 0.5x25 (cut at the right).
@pytest.mark.parametrize(
    "old, new, not_evaluated, too_low",
    [
        ("", "", 0, 0),
        ("maximum_height: 9999", "maximum_height: 9999 minimum_height: 10 minimum_width: 19", 2, 0),
        ("maximum_width: 9999", "maximum_width: 25", 2, 0),
        ("dbscan_eps: 0.3", "dbscan_eps: 0.3 minimum_bounding_box_height: 10", 0, 2),
        ("dbscan_eps: 0.3", "clustering_algorithm: NMS minimum_bounding_box_height: 10", 0, 0),
    ],
)
def test_sizes_in_the_network(tmp_path: Path, old: str, new: str, not_evaluated: int, too_low: int) -> None:
    write_frames(tmp_path, 1, {"a": [CELL, WIDE], "b": [], "c": [LOW, LARGE, OUTSIDE]})
    statistics = split_statistics(spec_of(tmp_path, (old, new)), "training")
    assert (statistics.images, statistics.missing_images) == (3, ())
    assert statistics.classes == (ClassStatistics("car", 5, (25.0, 13.0), 1, not_evaluated, too_low, 2, 1),)


def test_scaled_and_cropped(tmp_path: Path) -> None:
    """Without resizing: the window 10..74 x 20..68 of the file."""
    write_frames(tmp_path, 1, {"a": [("car", (0, 0, 40, 60)), ("car", (80, 0, 99, 60))]})
    window = "crop_left: 10 crop_right: 74 crop_top: 20 crop_bottom: 68"
    statistics = split_statistics(spec_of(tmp_path, ("enable_auto_resize: true", window)), "training")
    assert statistics.classes == (ClassStatistics("car", 2, (30.0, 40.0), 0, 0, 0, 0, 1),)


def test_many_small_objects_are_told_of(tmp_path: Path) -> None:
    write_frames(tmp_path, 1, {"a": [CELL, LARGE, LARGE, LARGE]})
    write_frames(tmp_path, 0, {"b": [CELL, LARGE, LARGE, LARGE, LARGE]})
    small = "1 of 4 objects of class car fit into one grid cell (16x16 pixels of the network's input)"
    beyond = "{} objects of class car reach beyond their image"
    assert split_statistics(spec_of(tmp_path), "training").notes == (
        f"training data: {small}",
        f"training data: {beyond.format('3 of 4')}",
    )
    assert split_statistics(spec_of(tmp_path), "validation").notes == (f"validation data: {beyond.format('4 of 5')}",)


def test_missing_images_are_listed(tmp_path: Path) -> None:
    write_frames(tmp_path, 1, {"a": [LARGE], "b": []})
    (tmp_path / "images" / "b.png").unlink()
    assert split_statistics(spec_of(tmp_path), "training").missing_images == (str(tmp_path / "images" / "b.png"),)


def test_damaged_records(tmp_path: Path) -> None:
    path = write_frames(tmp_path, 1, {"a": [LARGE]})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged"):
        split_statistics(spec_of(tmp_path), "training")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Five images of 128x96: a car and a tree, a car without area, nothing."""
    car, tree = LINE.format("Car", 10, 20, 42, 52), LINE.format("Tree", 0, 0, 90, 90)
    frames = {"a": [car, tree], "b": [LINE.format("car", 10, 20, 10.5, 52)], "c": [], "d": [], "e": []}
    return kitti_folder(tmp_path / "data", frames, size=(128, 96))


def conversion(root: Path) -> DatasetExportConfig:
    path = root.parent / "convert.txt"
    path.write_text(KITTI.replace('"data"', f'"{root}"'))
    return load_dataset_export(path)


def test_labels(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statistics = conversion_statistics(conversion(labels), None)
    assert (sorted(statistics.folds), statistics.objects) == ([1, 4], {"car": 1, "tree": 1})
    assert statistics.notes == ("objects left out: no area 1",)
    assert (statistics.classes, statistics.problems) == ((), ())
    assert capsys.readouterr().out == ""


def test_labels_mapped_by_a_training_spec(labels: Path, tmp_path: Path) -> None:
    statistics = conversion_statistics(conversion(labels), spec_of(tmp_path))
    assert statistics.classes == (ClassStatistics("car", 1, (16.0, 16.0), 1, 0, 0, 0, 0),)


def test_no_labelled_objects(tmp_path: Path) -> None:
    root = kitti_folder(tmp_path / "data", {"a": []})
    statistics = conversion_statistics(conversion(root), spec_of(tmp_path))
    assert (statistics.folds, statistics.objects) == ((1,), {})
    assert statistics.classes == (ClassStatistics("car", 0, None, 0, 0, 0, 0, 0),)


def test_frames_that_cannot_be_read(labels: Path) -> None:
    (labels / "labels" / "a.txt").unlink()
    (labels / "images" / "c.png").write_text("no image")
    problems = sorted(conversion_statistics(conversion(labels), None).problems)
    assert [line.partition(" (")[0] for line in problems] == [
        f"{labels}/images/c.png: not an image that can be read",
        f"{labels}/labels/a.txt: no such label file",
    ]
