"""What each field may hold, by type of message: the tables, and the functions that apply them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from qatkit.spec.walk import elements, joined, type_name, walk


@dataclass(frozen=True)
class Rule:
    """`holds` for every good value of a field; `text` says so in an error: `<path> must be > 0, found 0`."""

    text: str
    holds: Callable[[Any], bool]


_POSITIVE = Rule("must be > 0", lambda value: value > 0)
_NOT_NEGATIVE = Rule("must be >= 0", lambda value: value >= 0)
_FRACTION = Rule("must be in 0..1", lambda value: 0 <= value <= 1)
_POSITIVE_FRACTION = Rule("must be > 0 and <= 1", lambda value: 0 < value <= 1)
_INSIDE_FRACTION = Rule("must be > 0 and < 1", lambda value: 0 < value < 1)
_DEGREES = Rule("must be in 0..360 (degrees)", lambda value: 0 <= value <= 360)
_ANGLE = Rule("must be in -360..360 (degrees)", lambda value: -360 <= value <= 360)
_CHANNELS = Rule("must be 1 or 3", lambda value: value in (1, 3))
_COLOR = Rule("must be in 0..255", lambda value: 0 <= value <= 255)
_SET = Rule("must be set", bool)


def _one_of(*names: str) -> Rule:
    return Rule(f"must be {', '.join(names[:-1])} or {names[-1]}", lambda value: value in names)


# Wider than TAO's validator where TAO's code, or a published spec, uses what the validator refuses: `annealing: 1`,
# `dbscan_min_samples` beyond 1, `dbscan_confidence_threshold` beyond 1 (it limits a sum of coverages),
# `bbox_min_radius` beyond 1 (it is in grid cells), `val_split: 100` (a set to validate on only).
FIELDS: dict[str, dict[str, Rule]] = {
    "DataSource": {"tfrecords_path": _SET, "image_directory_path": _SET, "source_weight": _NOT_NEGATIVE},
    "DatasetConfig": {"image_extension": _SET},
    "AugmentationConfig.Preprocessing": {
        "output_image_width": _POSITIVE,
        "output_image_height": _POSITIVE,
        "output_image_channel": _CHANNELS,
        "min_bbox_width": _NOT_NEGATIVE,
        "min_bbox_height": _NOT_NEGATIVE,
        "scale_width": _NOT_NEGATIVE,
        "scale_height": _NOT_NEGATIVE,
    },
    "AugmentationConfig.SpatialAugmentation": {
        "hflip_probability": _FRACTION,
        "vflip_probability": _FRACTION,
        "zoom_min": _POSITIVE,
        "zoom_max": _POSITIVE,
        "translate_max_x": _NOT_NEGATIVE,
        "translate_max_y": _NOT_NEGATIVE,
        "rotate_rad_max": _ANGLE,
        "rotate_probability": _FRACTION,
    },
    "AugmentationConfig.ColorAugmentation": {
        "color_shift_stddev": _FRACTION,
        "hue_rotation_max": _DEGREES,
        "saturation_shift_max": _FRACTION,
        "contrast_scale_max": _FRACTION,
        "contrast_center": _FRACTION,
    },
    "ClusteringConfig": {
        "coverage_threshold": _FRACTION,
        "minimum_bounding_box_height": _NOT_NEGATIVE,
        "dbscan_eps": _FRACTION,
        "dbscan_min_samples": _NOT_NEGATIVE,
        "dbscan_confidence_threshold": _NOT_NEGATIVE,
        "nms_iou_threshold": _FRACTION,
        "nms_confidence_threshold": _FRACTION,
    },
    "ModelConfig": {"freeze_blocks": Rule("must be a whole number", float.is_integer)},
    "ModelConfig.BboxObjective": {"scale": _POSITIVE, "offset": _NOT_NEGATIVE},
    "ModelConfig.TrainingPrecision": {
        "backend_floatx": Rule("must be FLOAT32 or FLOAT16", lambda value: value in (0, 1))
    },
    "EvaluationConfig": {
        "validation_period_during_training": _POSITIVE,
        "first_validation_epoch": _POSITIVE,
        "minimum_detection_ground_truth_overlap": _FRACTION,
    },
    "EvaluationConfig.EvaluationBoxConfig": {
        "minimum_height": _NOT_NEGATIVE,
        "maximum_height": _POSITIVE,
        "minimum_width": _NOT_NEGATIVE,
        "maximum_width": _POSITIVE,
    },
    "CostFunctionConfig": {"max_objective_weight": _NOT_NEGATIVE, "min_objective_weight": _NOT_NEGATIVE},
    "CostFunctionConfig.TargetClass": {
        "name": _SET,
        "class_weight": _POSITIVE,
        "coverage_foreground_weight": _INSIDE_FRACTION,
    },
    "CostFunctionConfig.TargetClass.Objective": {
        "name": _one_of("cov", "bbox"),
        "initial_weight": _NOT_NEGATIVE,
        "weight_target": _NOT_NEGATIVE,
    },
    "BboxRasterizerConfig": {"deadzone_radius": _FRACTION},
    "BboxRasterizerConfig.TargetClassConfig": {
        "cov_center_x": _FRACTION,
        "cov_center_y": _FRACTION,
        "cov_radius_x": _POSITIVE_FRACTION,
        "cov_radius_y": _POSITIVE_FRACTION,
        "bbox_min_radius": _POSITIVE,
    },
    "ObjectiveLabelFilter": {"mask_multiplier": _NOT_NEGATIVE},
    "ObjectiveLabelFilter.ObjectiveLabelFilterConfig": {"objective_names": _one_of("cov", "bbox")},
    "LabelFilter.SourceClassLabelFilter": {"source_class_names": _SET},
    "TrainingConfig": {"batch_size_per_gpu": _POSITIVE, "num_epochs": _POSITIVE},
    "SoftStartAnnealingScheduleConfig": {
        "min_learning_rate": _POSITIVE,
        "max_learning_rate": _POSITIVE,
        "soft_start": _FRACTION,
        "annealing": _FRACTION,
    },
    "EarlyStoppingAnnealingScheduleConfig": {"min_learning_rate": _POSITIVE, "max_learning_rate": _POSITIVE},
    "RegularizerConfig": {"weight": _NOT_NEGATIVE},
    "AdamOptimizerConfig": {"epsilon": _POSITIVE, "beta1": _INSIDE_FRACTION, "beta2": _INSIDE_FRACTION},
    "VisualizerConfig.TargetClassConfig": {"coverage_threshold": _FRACTION},
    "KITTIConfig": {
        "partition_mode": _one_of("random", "sequence"),
        "val_split": Rule("must be in 0..100 (percent)", lambda value: 0 <= value <= 100),
    },
    "COCOConfig": {"img_dir_names": _SET, "annotation_files": _SET},
    "InferencerConfig": {
        "batch_size": _POSITIVE,
        "image_height": _POSITIVE,
        "image_width": _POSITIVE,
        "image_channels": _CHANNELS,
        "stride": _POSITIVE,
        "gpu_index": _NOT_NEGATIVE,
    },
    "CalibratorConfig": {"n_batches": _POSITIVE, "batch_size": _NOT_NEGATIVE},
    "BboxHandlerConfig": {"overlay_linewidth": _NOT_NEGATIVE},
    "ClasswiseBboxHandlerConfig": {
        "confidence_model": _one_of("aggregate_cov", "mean_cov"),
        "confidence_threshold": _NOT_NEGATIVE,
    },
    "ClasswiseBboxHandlerConfig.BboxColor": {"R": _COLOR, "G": _COLOR, "B": _COLOR},
}

# Of each pair the second must not be less than the first.
ORDERED: dict[str, tuple[tuple[str, str], ...]] = {
    "AugmentationConfig.SpatialAugmentation": (("zoom_min", "zoom_max"),),
    "EvaluationConfig.EvaluationBoxConfig": (
        ("minimum_height", "maximum_height"),
        ("minimum_width", "maximum_width"),
    ),
    "SoftStartAnnealingScheduleConfig": (("min_learning_rate", "max_learning_rate"), ("soft_start", "annealing")),
    "EarlyStoppingAnnealingScheduleConfig": (("min_learning_rate", "max_learning_rate"),),
}

# Messages, lists and maps that must be there. `regularizer` and `cost_scaling`, which TAO demands, may be left out:
# an absent block means what an empty one does.
PRESENT: dict[str, tuple[str, ...]] = {
    "Experiment": (
        "dataset_config",
        "augmentation_config",
        "postprocessing_config",
        "model_config",
        "evaluation_config",
        "cost_function_config",
        "training_config",
        "bbox_rasterizer_config",
    ),
    "DatasetConfig": ("data_sources", "target_class_mapping"),
    "AugmentationConfig": ("preprocessing",),
    "PostProcessingConfig": ("target_class_config",),
    "ModelConfig": ("objective_set",),
    "ModelConfig.ObjectiveSet": ("bbox", "cov"),
    "EvaluationConfig": ("minimum_detection_ground_truth_overlap", "evaluation_box_config"),
    "CostFunctionConfig": ("target_classes",),
    "CostFunctionConfig.TargetClass": ("objectives",),
    "BboxRasterizerConfig": ("target_class_config",),
    "TrainingConfig": ("learning_rate", "optimizer"),
    "ObjectiveLabelFilter.ObjectiveLabelFilterConfig": ("label_filter",),
    "LabelFilter.SourceClassLabelFilter": ("source_class_names",),
    "COCOConfig": ("img_dir_names", "annotation_files"),
    "Inference": ("inferencer_config", "bbox_handler_config"),
    "BboxHandlerConfig": ("classwise_bbox_handler_config",),
}

# Of these fields exactly one must be there.
ONEOFS: dict[str, str] = {
    "DatasetConfig": "dataset_split_type",
    "LearningRateConfig": "learning_rate",
    "OptimizerConfig": "optimizer",
    "LabelFilter": "label_filter_params",
    "DatasetExportConfig": "convert_config_type",
}


def absent(root: Message, skip: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield which blocks `root` lacks, or the messages in it, except those in fields `skip`."""
    for path, message in walk(root, skip=skip):
        kind = type_name(message)
        yield from _missing(message, path, PRESENT.get(kind, ()))
        if kind in ONEOFS:
            yield from _unset_oneof(message, path, ONEOFS[kind])


def misfits(root: Message, skip: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield which values in `root`, or in the messages in it, break a rule, except those in fields `skip`."""
    for path, message in walk(root, skip=skip):
        kind = type_name(message)
        yield from _not_numbers(message, path)
        yield from _null_characters(message, path)
        for name, rule in FIELDS.get(kind, {}).items():
            yield from _field_misfits(message, path, name, rule)
        for low, high in ORDERED.get(kind, ()):
            found = getattr(message, high), getattr(message, low)
            if found[0] < found[1]:
                yield f"{joined(path, high)} must be >= {low}, found {found[0]:g} and {found[1]:g}"


def _missing(message: Message, path: str, names: Sequence[str]) -> Iterator[str]:
    present = {field.name for field, _ in message.ListFields()}
    for name in names:
        if name not in present:
            yield f"{joined(path, name)} is missing"


def _unset_oneof(message: Message, path: str, oneof: str) -> Iterator[str]:
    if message.WhichOneof(oneof) is None:
        members = message.DESCRIPTOR.oneofs_by_name[oneof].fields
        names = " or ".join(field.name for field in members)
        yield f"{path} needs {names}" if path else f"{names} is missing"


def _not_numbers(message: Message, path: str) -> Iterator[str]:
    """NaN, infinity, and numbers of enum values that do not exist."""
    for field, value in message.ListFields():
        for suffix, item in elements(value):
            place = f"{joined(path, field.name)}{suffix}"
            if isinstance(item, float) and not math.isfinite(item):
                yield f"{place} must be a finite number, found {item}"
            if field.enum_type is not None and item not in field.enum_type.values_by_number:
                names = ", ".join(known.name for known in field.enum_type.values)
                yield f"{place} must be one of {names}, found {item}"


def _null_characters(message: Message, path: str) -> Iterator[str]:
    """They end a string in the file system's eyes, so that no file can have such a name."""
    for field, value in message.ListFields():
        for suffix, item in elements(value):
            if isinstance(item, str) and "\0" in item:
                yield f"{joined(path, field.name)}{suffix} must not hold a null character"


def _field_misfits(message: Message, path: str, name: str, rule: Rule) -> Iterator[str]:
    for suffix, item in elements(getattr(message, name)):
        if not rule.holds(item):
            yield f"{joined(path, name)}{suffix} {rule.text}{_found(item)}"


def _found(value: Any) -> str:
    """`, found 0.1`; nothing for an empty string, which means that the field is not set."""
    if isinstance(value, str):
        return f', found "{value}"' if value else ""
    return f", found {value:g}"
