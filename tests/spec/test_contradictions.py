from __future__ import annotations

import pytest

from qatkit.spec import DatasetExportConfig, Experiment, Inference, class_names, contradictions, defaults
from tests.support.specs import COCO, EXPERIMENT, IMAGE, INFERENCE, KITTI, edited

MAPPING = "dataset_config.target_class_mapping"


@pytest.mark.parametrize(
    "edits, expected",
    [
        ((), []),
        (
            (f'{MAPPING} = {{key: "bus" value: "bus"}}',),
            [f"{MAPPING} leads to bus, but cost_function_config has car"],
        ),
        ((f'{MAPPING} = {{key: "bus" value: "bus"}}', "cost_function_config"), []),  # another problem comes first
        (
            (f"{IMAGE}.output_image_height = 540",),
            [f"{IMAGE}.output_image_height: 540 is no multiple of 16; TAO refuses it, DeepStream shifts boxes"],
        ),
        (
            ("training_config.enable_qat = true",),
            [
                "training_config.enable_qat needs a trained model to start from: model_config.pretrained_model_file, "
                "with load_graph: true"
            ],
        ),
        (("training_config.enable_qat = true", 'model_config.pretrained_model_file = "a.tlt"'), []),
    ],
)
def test_experiment(edits: tuple[str, ...], expected: list[str]) -> None:
    assert list(contradictions.of_experiment(edited(Experiment, EXPERIMENT, *edits))) == expected


@pytest.mark.parametrize(
    "text, edits, expected",
    [
        (KITTI, (), []),
        (COCO, (), []),
        (KITTI, ("kitti_config",), []),  # another problem comes first
        (
            KITTI,
            ('kitti_config.image_extension = "jpg"',),
            ['dataset_config.image_extension is "png", but kitti_config converts "jpg" images'],
        ),
        (
            KITTI,
            ('kitti_config.partition_mode = "sequence"',),
            ["dataset_config.validation_fold is 1, but kitti_config makes 1 folds"],
        ),
        (
            COCO,
            ('coco_config.img_dir_names = "all"', 'coco_config.annotation_files = "all.json"'),
            ["dataset_config.validation_fold is 1, but coco_config makes 1 folds"],
        ),
    ],
)
def test_conversion(text: str, edits: tuple[str, ...], expected: list[str]) -> None:
    experiment = edited(Experiment, EXPERIMENT, "dataset_config.validation_fold = 1")
    config = edited(DatasetExportConfig, text, *edits)
    defaults.resolve_dataset_export(config)
    assert list(contradictions.of_conversion(experiment, config)) == expected


def test_conversion_for_a_validation_source() -> None:
    source = 'dataset_config.validation_data_source = {tfrecords_path: "a" image_directory_path: "b"}'
    config = edited(DatasetExportConfig, KITTI)
    defaults.resolve_dataset_export(config)
    assert list(contradictions.of_conversion(edited(Experiment, EXPERIMENT, source), config)) == []


@pytest.mark.parametrize(
    "edits, expected",
    [
        ((), []),
        (("inferencer_config.target_classes",), []),
        (
            ("inferencer_config.image_width = 48", "inferencer_config.image_channels = 1"),
            ["inferencer_config has 48x48x1 images, the training spec makes a network for 64x48x3"],
        ),
        (
            ('inferencer_config.target_classes = ["bus", "car"]',),
            ["inferencer_config.target_classes is bus, car; the training spec has, in this order, car"],
        ),
    ],
)
def test_inference(edits: tuple[str, ...], expected: list[str]) -> None:
    inference = edited(Inference, INFERENCE, *edits)
    assert list(contradictions.of_inference(edited(Experiment, EXPERIMENT), inference)) == expected


@pytest.mark.parametrize("names", [["car"], ["van", "car"]])  # the order of the file, not of the alphabet
def test_class_names(names: list[str]) -> None:
    targets = [{"name": name} for name in names]
    assert class_names(Experiment(cost_function_config={"target_classes": targets})) == names
