"""The rules that a spec must obey beyond its grammar: those of single fields (`rules`) and those across fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from qatkit.errors import SpecError
from qatkit.spec.backbones import ARCHITECTURES
from qatkit.spec.messages import (
    COCOConfig,
    DatasetExportConfig,
    Experiment,
    Inference,
    KITTIConfig,
    LabelFilter,
)
from qatkit.spec.names import stored_name
from qatkit.spec.parse import printable
from qatkit.spec.rules import absent, misfits

_MOST_SHOWN = 5

M = TypeVar("M", bound=Message)
Check = Callable[[M], Iterator[str]]


def check_experiment(experiment: Experiment, source: str) -> None:
    """Raise SpecError, beginning with `source`, when the spec makes no sense."""
    refuse(experiment_problems(experiment), source)


def check_dataset_export(config: DatasetExportConfig, source: str) -> None:
    """Raise SpecError, beginning with `source`, when the spec makes no sense."""
    refuse(dataset_export_problems(config), source)


def check_inference(inference: Inference, source: str) -> None:
    """Raise SpecError, beginning with `source`, when the spec makes no sense."""
    refuse(inference_problems(inference), source)


def experiment_problems(experiment: Experiment) -> list[str]:
    """Everything that makes no sense, one line each; nothing where the spec is good."""
    # Parsed for the sake of old files, used by nothing.
    return _problems(experiment, _EXPERIMENT_CHECKS, skip=frozenset({"dataset_export_config"}))


def dataset_export_problems(config: DatasetExportConfig) -> list[str]:
    """As `experiment_problems`."""
    return _problems(config, _EXPORT_CHECKS)


def inference_problems(inference: Inference) -> list[str]:
    """As `experiment_problems`."""
    return _problems(inference, (_handled_classes,))


def refuse(problems: Sequence[str], source: str) -> None:
    """Raise SpecError with the first of `problems`, if there are any."""
    if problems:
        more = f"; and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
        raise SpecError(printable(f"{source}: {'; '.join(problems[:_MOST_SHOWN])}{more}"))


def _problems(message: M, checks: Sequence[Check[M]], skip: frozenset[str] = frozenset()) -> list[str]:
    """What is missing comes first; what else could be said of a missing block is not."""
    missing = list(absent(message, skip))
    blocks = tuple(line.partition(" ")[0] for line in missing if line.endswith(" is missing"))
    found = [*misfits(message, skip), *(line for check in checks for line in check(message))]
    return missing + [line for line in found if not line.startswith(blocks)]


def _crop(experiment: Experiment) -> Iterator[str]:
    """TAO cuts the window after scaling and feeds it to a network of the output's size."""
    path, image = "augmentation_config.preprocessing", experiment.augmentation_config.preprocessing
    if not (image.crop_left or image.crop_top or image.crop_right or image.crop_bottom):
        return
    for first, last, side in (
        ("crop_left", "crop_right", "output_image_width"),
        ("crop_top", "crop_bottom", "output_image_height"),
    ):
        low, high, size = (getattr(image, name) for name in (first, last, side))
        if high - low != size:
            yield f"{path}: {last} - {first} must be {side} {size}, found {high - low}"


def _architecture(experiment: Experiment) -> Iterator[str]:
    model = experiment.model_config
    if model.load_graph:  # the file decides
        return
    if model.arch not in ARCHITECTURES:
        yield f'model_config.arch must be one of {", ".join(ARCHITECTURES)}, found "{model.arch}"'
        return
    depths = ARCHITECTURES[model.arch].depths
    if depths and model.num_layers not in depths:
        listed = ", ".join(map(str, depths))
        yield f"model_config.num_layers of {model.arch} must be one of {listed}, found {model.num_layers}"


def _pretrained(experiment: Experiment) -> Iterator[str]:
    model = experiment.model_config
    if model.pretrained_model_file:
        return
    for name in ("load_graph", "freeze_blocks"):
        if getattr(model, name):
            yield f"model_config.{name} needs pretrained_model_file"


def _patience(experiment: Experiment) -> Iterator[str]:
    training = experiment.training_config
    if training.learning_rate.WhichOneof("learning_rate") != "early_stopping_annealing_schedule":
        return
    found = training.learning_rate.early_stopping_annealing_schedule.patience_steps
    period = experiment.evaluation_config.validation_period_during_training
    if not period <= found <= training.num_epochs:
        limits = f"from validation_period_during_training {period} to num_epochs {training.num_epochs}"
        path = "training_config.learning_rate.early_stopping_annealing_schedule"
        yield f"{path}.patience_steps must be {limits}, found {found}"


def _cost_scaling(experiment: Experiment) -> Iterator[str]:
    scaling = experiment.training_config.cost_scaling
    if not scaling.enabled:
        return
    for name in ("initial_exponent", "increment", "decrement"):
        if not getattr(scaling, name) > 0:
            yield f"training_config.cost_scaling.{name} must be > 0, found {getattr(scaling, name):g}"


def _objectives(experiment: Experiment) -> Iterator[str]:
    config = experiment.cost_function_config
    for index, target in enumerate(config.target_classes):
        path = f"cost_function_config.target_classes[{index}].objectives"
        names = sorted(objective.name for objective in target.objectives)
        if names != ["bbox", "cov"]:
            yield f"{path} must be one cov and one bbox, found {', '.join(names) or 'none'}"
        elif not sum(objective.initial_weight for objective in target.objectives) > 0:
            yield f"{path}: one initial_weight at least must be > 0"
        elif config.enable_autoweighting and not sum(objective.weight_target for objective in target.objectives) > 0:
            yield f"{path}: one weight_target at least must be > 0 with enable_autoweighting"
    if config.min_objective_weight > config.max_objective_weight > 0:
        found = f"{config.max_objective_weight:g} and {config.min_objective_weight:g}"
        yield f"cost_function_config.max_objective_weight must be >= min_objective_weight, found {found}"


def _classes(experiment: Experiment) -> Iterator[str]:
    """Each class of the network has an entry wherever something is set per class; more entries are allowed."""
    names = [target.name for target in experiment.cost_function_config.target_classes if target.name]
    for name, count in Counter(names).items():
        if count > 1:
            yield f'cost_function_config.target_classes has the name "{name}" {count} times'
    evaluation = experiment.evaluation_config
    tables: dict[str, Mapping[str, object]] = {
        "bbox_rasterizer_config.target_class_config": experiment.bbox_rasterizer_config.target_class_config,
        "postprocessing_config.target_class_config": experiment.postprocessing_config.target_class_config,
        "evaluation_config.minimum_detection_ground_truth_overlap": evaluation.minimum_detection_ground_truth_overlap,
        "evaluation_config.evaluation_box_config": evaluation.evaluation_box_config,
    }
    for path, entries in tables.items():
        for name in dict.fromkeys(names):
            if name not in entries:
                yield f'{path} has no entry for class "{name}" of cost_function_config'


def _class_mapping(experiment: Experiment) -> Iterator[str]:
    for key, value in sorted(experiment.dataset_config.target_class_mapping.items()):
        if not key or not value:
            yield f'dataset_config.target_class_mapping["{key}"] needs a key and a value, found "{value}"'


def _label_filters(experiment: Experiment) -> Iterator[str]:
    names = {target.name for target in experiment.cost_function_config.target_classes}
    for index, item in enumerate(experiment.loss_mask_label_filter.objective_label_filter_configs):
        path = f"loss_mask_label_filter.objective_label_filter_configs[{index}]"
        for name in item.target_class_names:
            if name not in names:
                yield f'{path}.target_class_names: "{name}" is no class of cost_function_config'
        yield from _label_filter(item.label_filter, f"{path}.label_filter")


def _label_filter(item: LabelFilter, path: str) -> Iterator[str]:
    size, window = item.bbox_dimensions_label_filter, item.bbox_crop_label_filter
    limits = (
        ("bbox_dimensions_label_filter.max_width", "min_width", size.max_width, size.min_width),
        ("bbox_dimensions_label_filter.max_height", "min_height", size.max_height, size.min_height),
        ("bbox_crop_label_filter.crop_right", "crop_left", window.crop_right, window.crop_left),
        ("bbox_crop_label_filter.crop_bottom", "crop_top", window.crop_bottom, window.crop_top),
    )
    for name, other, high, low in limits:
        if high and low and high <= low:  # 0 means not set
            yield f"{path}.{name} must be > {other}, found {high:g} and {low:g}"


def _kitti(config: DatasetExportConfig) -> Iterator[str]:
    kitti: KITTIConfig = config.kitti_config
    if kitti.partition_mode == "random" and kitti.num_partitions != 2:
        yield f"kitti_config.num_partitions must be 2 with partition_mode random, found {kitti.num_partitions}"
    if kitti.partition_mode == "sequence" and not kitti.kitti_sequence_to_frames_file:
        yield "kitti_config.kitti_sequence_to_frames_file must be set with partition_mode sequence"


def _coco(config: DatasetExportConfig) -> Iterator[str]:
    coco: COCOConfig = config.coco_config
    if not coco.num_partitions:  # none, or one that lacks its folders
        return
    for name, values in (("img_dir_names", coco.img_dir_names), ("annotation_files", coco.annotation_files)):
        if values and len(values) != coco.num_partitions:
            yield f"coco_config.{name} needs num_partitions {coco.num_partitions} values, found {len(values)}"
    if len(coco.num_shards) not in (0, 1, coco.num_partitions):
        expected = f"one value or num_partitions {coco.num_partitions}"
        yield f"coco_config.num_shards needs {expected}, found {len(coco.num_shards)}"


def _sample_modifier(config: DatasetExportConfig) -> Iterator[str]:
    modifier, targets = config.sample_modifier_config, dict[str, str]()
    for name, target in sorted(modifier.source_to_target_class_mapping.items()):
        if stored_name(target) != targets.setdefault(stored_name(name), stored_name(target)):
            path = f'sample_modifier_config.source_to_target_class_mapping["{name}"]'
            yield f'{path}: as "{stored_name(name)}", the name in the records, it has two targets'
    for field in ("filter_samples_containing_only", "dominant_target_classes"):
        for name in getattr(modifier, field):
            if stored_name(name) not in targets.values():
                yield f'sample_modifier_config.{field}: "{name}" is no value of source_to_target_class_mapping'


def _handled_classes(inference: Inference) -> Iterator[str]:
    handler = inference.bbox_handler_config
    entries = handler.classwise_bbox_handler_config
    if "default" in entries:
        return
    wanted: Sequence[str] = handler.postproc_classes or inference.inferencer_config.target_classes
    for name in wanted:
        if name not in entries:
            yield f'bbox_handler_config.classwise_bbox_handler_config has no entry for class "{name}", nor "default"'


_EXPERIMENT_CHECKS: tuple[Check[Experiment], ...] = (
    _crop,
    _architecture,
    _pretrained,
    _patience,
    _cost_scaling,
    _objectives,
    _classes,
    _class_mapping,
    _label_filters,
)
_EXPORT_CHECKS: tuple[Check[DatasetExportConfig], ...] = (_kitti, _coco, _sample_modifier)
