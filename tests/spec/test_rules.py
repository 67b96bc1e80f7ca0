from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf import descriptor_pool

from qatkit.spec import Experiment, rules
from tests.support.specs import (
    BOX,
    CLUSTERING,
    EARLY,
    EXPERIMENT,
    IMAGE,
    RASTERIZER,
    SOFT_START,
    SPATIAL,
    TARGET,
    problems,
)


@pytest.mark.parametrize(
    "block",
    [
        "dataset_config",
        "augmentation_config",
        "postprocessing_config",
        "model_config",
        "evaluation_config",
        "cost_function_config",
        "training_config",
        "bbox_rasterizer_config",
        "dataset_config.data_sources",
        "dataset_config.target_class_mapping",
        "augmentation_config.preprocessing",
        "postprocessing_config.target_class_config",
        "model_config.objective_set",
        "model_config.objective_set.bbox",
        "model_config.objective_set.cov",
        "evaluation_config.minimum_detection_ground_truth_overlap",
        "evaluation_config.evaluation_box_config",
        "cost_function_config.target_classes",
        "cost_function_config.target_classes[0].objectives",
        "training_config.learning_rate",
        "training_config.optimizer",
        "bbox_rasterizer_config.target_class_config",
    ],
)
def test_experiment_without_a_block(block: str) -> None:
    assert problems(Experiment, EXPERIMENT, (block,)) == f"spec: {block} is missing"


@pytest.mark.parametrize(
    "kind, table",
    [(kind, table) for table in (rules.FIELDS, rules.PRESENT, rules.ORDERED, rules.ONEOFS) for kind in table],
)
def test_tables_name_real_fields(kind: str, table: Mapping[str, Any]) -> None:
    descriptor = descriptor_pool.Default().FindMessageTypeByName(f"qatkit.{kind}")
    names = [table[kind]] if isinstance(table[kind], str) else table[kind]
    for name in names:
        for field in [name] if isinstance(name, str) else name:
            known = descriptor.oneofs_by_name if table is rules.ONEOFS else descriptor.fields_by_name
            assert field in known


@pytest.mark.parametrize(
    "place", ["data_sources[0].tfrecords_path", "data_sources[0].image_directory_path", "image_extension"]
)
def test_strings_that_must_be_set(place: str) -> None:
    assert (
        problems(Experiment, EXPERIMENT, (f"dataset_config.{place}",)) == f"spec: dataset_config.{place} must be set"
    )


def test_strings_that_no_file_can_be_called() -> None:
    edits = (r'dataset_config.data_sources[0].tfrecords_path = "a\0b"', r'model_config.pretrained_model_file = "\0"')
    assert problems(Experiment, EXPERIMENT, edits) == (
        "spec: dataset_config.data_sources[0].tfrecords_path must not hold a null character; "
        "model_config.pretrained_model_file must not hold a null character"
    )


# Every scalar that has a rule, with a value that breaks it.
@pytest.mark.parametrize(
    "place, value, rule",
    [
        ("dataset_config.data_sources[0].source_weight", "-1", "must be >= 0"),
        (f"{IMAGE}.output_image_width", "0", "must be > 0"),
        (f"{IMAGE}.output_image_height", "0", "must be > 0"),
        (f"{IMAGE}.output_image_channel", "2", "must be 1 or 3"),
        (f"{IMAGE}.output_image_channel", "0", "must be 1 or 3"),
        (f"{IMAGE}.min_bbox_width", "-1", "must be >= 0"),
        (f"{IMAGE}.min_bbox_height", "-1", "must be >= 0"),
        (f"{IMAGE}.scale_width", "-0.5", "must be >= 0"),
        (f"{IMAGE}.scale_height", "-0.5", "must be >= 0"),
        (f"{SPATIAL}.hflip_probability", "1.5", "must be in 0..1"),
        (f"{SPATIAL}.vflip_probability", "-1", "must be in 0..1"),
        (f"{SPATIAL}.zoom_min", "-1", "must be > 0"),
        (f"{SPATIAL}.translate_max_x", "-1", "must be >= 0"),
        (f"{SPATIAL}.translate_max_y", "-1", "must be >= 0"),
        (f"{SPATIAL}.rotate_rad_max", "361", "must be in -360..360 (degrees)"),
        (f"{SPATIAL}.rotate_probability", "2", "must be in 0..1"),
        ("augmentation_config.color_augmentation.color_shift_stddev", "2", "must be in 0..1"),
        ("augmentation_config.color_augmentation.hue_rotation_max", "361", "must be in 0..360 (degrees)"),
        ("augmentation_config.color_augmentation.saturation_shift_max", "2", "must be in 0..1"),
        ("augmentation_config.color_augmentation.contrast_scale_max", "-1", "must be in 0..1"),
        ("augmentation_config.color_augmentation.contrast_center", "2", "must be in 0..1"),
        (f"{CLUSTERING}.coverage_threshold", "2", "must be in 0..1"),
        (f"{CLUSTERING}.minimum_bounding_box_height", "-1", "must be >= 0"),
        (f"{CLUSTERING}.dbscan_eps", "1.5", "must be in 0..1"),
        (f"{CLUSTERING}.dbscan_min_samples", "-1", "must be >= 0"),
        (f"{CLUSTERING}.dbscan_confidence_threshold", "-1", "must be >= 0"),
        (f"{CLUSTERING}.nms_iou_threshold", "2", "must be in 0..1"),
        (f"{CLUSTERING}.nms_confidence_threshold", "2", "must be in 0..1"),
        (f"{CLUSTERING}.clustering_algorithm", "7", "must be one of DBSCAN, NMS, HYBRID"),
        ("model_config.objective_set.bbox.scale", "0", "must be > 0"),
        ("model_config.objective_set.bbox.offset", "-1", "must be >= 0"),
        ("model_config.training_precision.backend_floatx", "2", "must be FLOAT32 or FLOAT16"),
        ("evaluation_config.validation_period_during_training", "0", "must be > 0"),
        (f"{BOX}.minimum_height", "-1", "must be >= 0"),
        (f"{BOX}.minimum_width", "-1", "must be >= 0"),
        ("cost_function_config.max_objective_weight", "-1", "must be >= 0"),
        ("cost_function_config.min_objective_weight", "-1", "must be >= 0"),
        (f"{TARGET}.class_weight", "0", "must be > 0"),
        (f"{TARGET}.coverage_foreground_weight", "0", "must be > 0 and < 1"),
        (f"{TARGET}.coverage_foreground_weight", "1", "must be > 0 and < 1"),
        (f"{TARGET}.objectives[0].initial_weight", "-1", "must be >= 0"),
        (f"{TARGET}.objectives[0].weight_target", "-1", "must be >= 0"),
        ("bbox_rasterizer_config.deadzone_radius", "2", "must be in 0..1"),
        (f"{RASTERIZER}.cov_center_x", "2", "must be in 0..1"),
        (f"{RASTERIZER}.cov_center_y", "-1", "must be in 0..1"),
        (f"{RASTERIZER}.cov_radius_x", "0", "must be > 0 and <= 1"),
        (f"{RASTERIZER}.cov_radius_y", "2", "must be > 0 and <= 1"),
        (f"{RASTERIZER}.bbox_min_radius", "0", "must be > 0"),
        ("training_config.batch_size_per_gpu", "0", "must be > 0"),
        ("training_config.num_epochs", "0", "must be > 0"),
        (f"{SOFT_START}.min_learning_rate", "0", "must be > 0"),
        (f"{SOFT_START}.soft_start", "-1", "must be in 0..1"),
        (f"{SOFT_START}.annealing", "2", "must be in 0..1"),
        ("training_config.regularizer.weight", "-1", "must be >= 0"),
        ("training_config.regularizer.type", "7", "must be one of NO_REG, L1, L2"),
        ("training_config.optimizer.adam.epsilon", "0", "must be > 0"),
        ("training_config.optimizer.adam.beta1", "1", "must be > 0 and < 1"),
        ("training_config.optimizer.adam.beta2", "0", "must be > 0 and < 1"),
        ("loss_mask_label_filter.mask_multiplier", "-1", "must be >= 0"),
        ("dataset_config.sampling_mode", "9", "must be one of USER_DEFINED, PROPORTIONAL, UNIFORM"),
    ],
)
def test_experiment_field(place: str, value: str, rule: str) -> None:
    assert problems(Experiment, EXPERIMENT, (f"{place} = {value}",)) == f"spec: {place} {rule}, found {value}"


@pytest.mark.parametrize(
    "place, value, message",
    [
        (f"{BOX}.maximum_height", "0", "must be > 0, found 0; {place} must be >= minimum_height, found 0 and 9"),
        (f"{BOX}.maximum_width", "0", "must be > 0, found 0; {place} must be >= minimum_width, found 0 and 9"),
        (f"{SPATIAL}.zoom_max", "-1", "must be > 0, found -1; {place} must be >= zoom_min, found -1 and 1"),
        (
            f"{SOFT_START}.max_learning_rate",
            "0",
            "must be > 0, found 0; {place} must be >= min_learning_rate, found 0 and 1e-05",
        ),
    ],
)
def test_upper_limits(place: str, value: str, message: str) -> None:
    edits = (f"{BOX}.minimum_height = 9", f"{BOX}.minimum_width = 9", f"{place} = {value}")
    assert problems(Experiment, EXPERIMENT, edits) == f"spec: {place} {message.format(place=place)}"


@pytest.mark.parametrize(
    "edit, message",
    [
        (
            'training_config.visualizer = {target_class_config {key: "car" value {coverage_threshold: 2}}}',
            'training_config.visualizer.target_class_config["car"].coverage_threshold must be in 0..1, found 2',
        ),
        (
            "loss_mask_label_filter.objective_label_filter_configs = "
            '{label_filter {source_class_label_filter {source_class_names: ""}}}',
            "loss_mask_label_filter.objective_label_filter_configs[0].label_filter.source_class_label_filter."
            "source_class_names[0] must be set",
        ),
        (
            f"{EARLY} = {{min_learning_rate: -2 max_learning_rate: -1 patience_steps: 1}}",
            f"{EARLY}.min_learning_rate must be > 0, found -2; {EARLY}.max_learning_rate must be > 0, found -1",
        ),
    ],
)
def test_fields_of_optional_blocks(edit: str, message: str) -> None:
    assert problems(Experiment, EXPERIMENT, (edit,)) == f"spec: {message}"


def test_values_of_maps() -> None:
    edits = ('evaluation_config.minimum_detection_ground_truth_overlap = {key: "car" value: 2}',)
    path = 'evaluation_config.minimum_detection_ground_truth_overlap["car"]'
    assert problems(Experiment, EXPERIMENT, edits) == f"spec: {path} must be in 0..1, found 2"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_are_finite(value: str) -> None:
    edits = (f"{IMAGE}.scale_width = {value}",)
    assert f"{IMAGE}.scale_width must be a finite number, found {value}" in problems(Experiment, EXPERIMENT, edits)
