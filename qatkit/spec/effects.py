"""Fields of a spec that have no effect: never, or not beside what else the spec says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from qatkit.spec.backbones import ARCHITECTURES, DEFAULT_ARCH, DEFAULT_DEPTH, STRIDE
from qatkit.spec.defaults import wandb_is_on
from qatkit.spec.messages import (
    AugmentationConfig,
    BboxHandlerConfig,
    ClasswiseBboxHandlerConfig,
    ClusteringConfig,
    CostFunctionConfig,
    DatasetConfig,
    DatasetExportConfig,
    Experiment,
    Inference,
    KITTIConfig,
    ModelConfig,
    RegularizerConfig,
    TrainingConfig,
    VisualizerConfig,
)
from qatkit.spec.names import stored_name
from qatkit.spec.walk import joined, type_name, walk

# Parsed, and used by nothing. A field that a package begins to use leaves this table.
UNUSED: dict[str, tuple[str, ...]] = {
    "Experiment": ("dataset_export_config",),
    "AugmentationConfig.Preprocessing": ("output_image_min", "output_image_max"),
    "PostProcessingConfig.TargetClassConfig": ("confidence_config",),
    "ClusteringConfig": ("neighborhood_size",),
    "ModelConfig": ("freeze_pretrained_layers", "allow_loaded_model_modification", "dropout_rate", "activation"),
    "EvaluationConfig": ("early_stopping_patience_steps",),
    "DatasetExportConfig": ("image_directory_path", "target_class_mapping"),
    "KITTIConfig": ("point_clouds_dir", "calibrations_dir"),
    "InferencerConfig": ("input_nodes", "output_nodes", "gpu_index"),
    "TensorRTConfig": (
        "parser",
        "caffemodel",
        "prototxt",
        "uff_model",
        "backend_data_type",
        "save_engine",
        "calibrator_config",
    ),
    "BboxHandlerConfig": ("wandb_config",),
}
_REASONS = {
    "early_stopping_patience_steps": "nor by TAO; patience_steps of early_stopping_annealing_schedule ends a training"
}
_ONE_RESNET_PROJECTS_ALWAYS = 10  # its blocks are the first of their stages
# `arch`, which TAO demands, is compared with what the file holds (`training.start`).
_BUILT = ("num_layers", "use_pooling", "use_batch_norm", "all_projections")
# TAO demands the block; this is what its samples have in it, and NVIDIA's models.
_CUSTOMARY_SCALING = {"initial_exponent": 20.0, "increment": 0.005, "decrement": 1.0}
_DBSCAN_ONLY = ("dbscan_eps", "dbscan_min_samples", "dbscan_confidence_threshold", "minimum_bounding_box_height")
_SIDES = ("crop_left", "crop_right", "crop_top", "crop_bottom")
_NMS_ONLY = ("nms_iou_threshold", "nms_confidence_threshold")


Objective = CostFunctionConfig.TargetClass.Objective


@dataclass(frozen=True)
class Idle:
    """A field, or an entry of one, that is set and has no effect. reason: "" where it never has any."""

    path: str
    reason: str = ""


def of_experiment(experiment: Experiment) -> Iterator[Idle]:
    """Yield what in `experiment`, as it stands in the file, has no effect."""
    yield from _never(experiment)
    yield from _data(experiment.dataset_config)
    yield from _augmentation(experiment.augmentation_config)
    for path, message in walk(experiment.postprocessing_config, "postprocessing_config"):
        if isinstance(message, ClusteringConfig):
            yield from _clustering(message, path)
    yield from _model(experiment.model_config)
    yield from _cost(experiment.cost_function_config)
    yield from _training(experiment.training_config)
    yield from _loss_mask(experiment)
    yield from _visualizer(experiment.training_config.visualizer)
    yield from _entries_of_no_class(experiment)


def of_dataset_export(config: DatasetExportConfig) -> Iterator[Idle]:
    """As `of_experiment`."""
    yield from _never(config)
    yield from _partition(config.kitti_config)
    yield from _sample_modifier(config.sample_modifier_config)


def of_inference(inference: Inference) -> Iterator[Idle]:
    """As `of_experiment`."""
    yield from _never(inference)
    config, handler = inference.inferencer_config, inference.bbox_handler_config
    if config.stride not in (0, STRIDE):
        yield Idle("inferencer_config.stride", "the network tells its own")
    if config.tensorrt_config.trt_engine:
        yield from _set(
            config.tensorrt_config, "inferencer_config.tensorrt_config", ("etlt_model",), "trt_engine runs"
        )
    yield from _shown(handler, list(config.target_classes))
    for name, entry in sorted(handler.classwise_bbox_handler_config.items()):
        yield from _handler(entry, name, handler.disable_overlay)


def _set(message: Message, path: str, names: Iterable[str], reason: str) -> Iterator[Idle]:
    """The fields `names` that `message` sets to something else than their default."""
    present = {field.name for field, _ in message.ListFields()}
    for name in names:
        if name in present:
            yield Idle(joined(path, name), reason)


def _never(root: Message) -> Iterator[Idle]:
    for path, message in walk(root, skip=frozenset({"dataset_export_config"})):
        for name in UNUSED.get(type_name(message), ()):
            yield from _set(message, path, (name,), _REASONS.get(name, ""))


def _data(config: DatasetConfig) -> Iterator[Idle]:
    if config.sampling_mode == DatasetConfig.UNIFORM and len(config.data_sources) == 1:
        yield Idle("dataset_config.sampling_mode", "there is one source")


def _augmentation(config: AugmentationConfig) -> Iterator[Idle]:
    path, spatial, color = "augmentation_config", config.spatial_augmentation, config.color_augmentation
    if spatial.rotate_probability != 1 and not spatial.rotate_rad_max:
        yield from _set(spatial, f"{path}.spatial_augmentation", ("rotate_probability",), "without rotate_rad_max")
    for name in ("translate_max_x", "translate_max_y"):
        if 0 < getattr(spatial, name) < 1:
            yield Idle(f"{path}.spatial_augmentation.{name}", "less than a pixel")
    if config.preprocessing.output_image_channel == 1:
        if color.ByteSize():
            yield Idle(f"{path}.color_augmentation", "images are grey")
    elif not color.contrast_scale_max:
        yield from _set(color, f"{path}.color_augmentation", ("contrast_center",), "without contrast_scale_max")


def _clustering(config: ClusteringConfig, path: str) -> Iterator[Idle]:
    if config.clustering_algorithm == ClusteringConfig.DBSCAN:
        yield from _set(config, path, _NMS_ONLY, "with DBSCAN")
    elif config.clustering_algorithm == ClusteringConfig.NMS:
        yield from _set(config, path, _DBSCAN_ONLY, "with NMS")


def _model(model: ModelConfig) -> Iterator[Idle]:
    path = "model_config"
    if model.load_graph:
        reason = "with load_graph the file decides"
        yield from _set(model, path, _BUILT, reason)
        for name in ("bbox", "cov"):
            yield from _set(getattr(model.objective_set, name), f"{path}.objective_set.{name}", ("input",), reason)
        return
    arch, depth = model.arch or DEFAULT_ARCH, model.num_layers or DEFAULT_DEPTH
    if arch not in ARCHITECTURES:  # an error
        return
    known = ARCHITECTURES[arch]
    if not known.depths:
        yield from _set(model, path, ("num_layers",), f"{arch} has one size")
    yield from _set(model, path, sorted({"use_pooling", "all_projections"} - known.options), f"{arch} has none")
    if (arch, depth) == ("resnet", _ONE_RESNET_PROJECTS_ALWAYS):
        yield from _set(model, path, ("all_projections",), f"resnet {depth} has nothing else")
    if known.batch_norm is False:
        yield from _set(model, path, ("use_batch_norm", "freeze_bn"), f"{arch} has none")
    elif not known.batch_norm and not model.use_batch_norm:
        yield from _set(model, path, ("freeze_bn",), "without use_batch_norm")


def _cost(config: CostFunctionConfig) -> Iterator[Idle]:
    path = "cost_function_config"
    if len(config.target_classes) == 1 and config.target_classes[0].class_weight not in (0, 1):
        yield Idle(f"{path}.target_classes[0].class_weight", "there is one class")
    if config.enable_autoweighting:
        return
    reason = "without enable_autoweighting"
    yield from _set(config, path, ("max_objective_weight", "min_objective_weight"), reason)
    for inner, message in walk(config, path):
        # Where both are the same nothing else is meant than what happens.
        if isinstance(message, Objective) and message.weight_target != message.initial_weight:
            yield from _set(message, inner, ("weight_target",), reason)


def _training(config: TrainingConfig) -> Iterator[Idle]:
    path, regularizer = "training_config", config.regularizer
    if regularizer.type == RegularizerConfig.NO_REG:
        yield from _set(regularizer, f"{path}.regularizer", ("weight",), "with NO_REG")
    elif not regularizer.weight:
        yield Idle(f"{path}.regularizer.type", "its weight is 0")
    scaling = config.cost_scaling
    if not scaling.enabled:
        wanted = (name for name, value in _CUSTOMARY_SCALING.items() if getattr(scaling, name) != value)
        yield from _set(scaling, f"{path}.cost_scaling", wanted, "without enabled")
    rates = config.learning_rate
    soft, early = rates.soft_start_annealing_schedule, rates.early_stopping_annealing_schedule
    path = f"{path}.learning_rate"
    if not soft.soft_start and soft.annealing == 1:
        reason = "without soft_start, and with annealing 1"
        yield from _set(soft, f"{path}.soft_start_annealing_schedule", ("min_learning_rate",), reason)
    if not early.soft_start_epochs and not early.annealing_epochs:
        reason = "without soft_start_epochs and annealing_epochs"
        yield from _set(early, f"{path}.early_stopping_annealing_schedule", ("min_learning_rate",), reason)


def _visualizer(config: VisualizerConfig) -> Iterator[Idle]:
    path, wandb = "training_config.visualizer", config.wandb_config
    tracked = config.HasField("clearml_config") or (config.HasField("wandb_config") and wandb_is_on(wandb))
    if not config.enabled:
        names = ("num_images", "infrequent_logging_frequency", "target_class_config")
        yield from _set(config, path, names if tracked else (*names, "scalar_logging_frequency"), "without enabled")
    elif not config.num_images:
        yield from _set(config, path, ("target_class_config",), "without num_images")
    if not wandb_is_on(wandb):
        others = [field.name for field in wandb.DESCRIPTOR.fields if field.name not in ("enabled", "mode")]
        yield from _set(wandb, f"{path}.wandb_config", others, "it is switched off")


def _loss_mask(experiment: Experiment) -> Iterator[Idle]:
    path, config = "loss_mask_label_filter", experiment.loss_mask_label_filter
    if not config.objective_label_filter_configs:
        yield from _set(config, path, ("mask_multiplier", "preserve_ground_truth"), "without filters")
        return
    if config.mask_multiplier == 1:
        yield Idle(path, "mask_multiplier is 1")
        return
    known = {target.name for target in experiment.cost_function_config.target_classes}
    for number, item in enumerate(config.objective_label_filter_configs):
        inner = f"{path}.objective_label_filter_configs[{number}].label_filter"
        crop, sources = item.label_filter.bbox_crop_label_filter, item.label_filter.source_class_label_filter
        if not all(getattr(crop, side) for side in _SIDES):
            reason = "every box is selected unless all four sides are set"
            yield from _set(crop, f"{inner}.bbox_crop_label_filter", _SIDES, reason)
        for name in sources.source_class_names:
            if stored_name(name) != name and name not in known:
                place = f'{inner}.source_class_label_filter.source_class_names["{name}"]'
                yield Idle(place, f"records have {stored_name(name)}")


def _entries_of_no_class(experiment: Experiment) -> Iterator[Idle]:
    known = {target.name for target in experiment.cost_function_config.target_classes}
    for path, message, name in (
        ("postprocessing_config", experiment.postprocessing_config, "target_class_config"),
        ("evaluation_config", experiment.evaluation_config, "minimum_detection_ground_truth_overlap"),
        ("evaluation_config", experiment.evaluation_config, "evaluation_box_config"),
        ("bbox_rasterizer_config", experiment.bbox_rasterizer_config, "target_class_config"),
        ("training_config.visualizer", experiment.training_config.visualizer, "target_class_config"),
    ):
        for key in sorted(set(getattr(message, name)) - known) if known else ():
            yield Idle(f'{path}.{name}["{key}"]', "no class of cost_function_config")


def _partition(kitti: KITTIConfig) -> Iterator[Idle]:
    unused = {"random": "kitti_sequence_to_frames_file", "sequence": "val_split"}
    if kitti.partition_mode in unused:
        reason = f"with partition_mode {kitti.partition_mode}"
        yield from _set(kitti, "kitti_config", (unused[kitti.partition_mode],), reason)


def _sample_modifier(config: DatasetExportConfig.SampleModifierConfig) -> Iterator[Idle]:
    path, dominant = "sample_modifier_config", set(map(stored_name, config.dominant_target_classes))
    rare = set(map(stored_name, config.source_to_target_class_mapping.values())) - dominant
    repeats = True
    for needed, reason in (
        (config.num_duplicates, "without num_duplicates"),
        (dominant, "without dominant_target_classes"),
        (rare, "no class of source_to_target_class_mapping is left to be rare"),
    ):
        if repeats and not needed:
            names = ("num_duplicates", "dominant_target_classes", "minimum_target_class_imbalance")
            yield from _set(config, path, names, reason)
            repeats = False
    for name in sorted(config.minimum_target_class_imbalance) if repeats else ():
        if stored_name(name) not in rare:
            reason = "dominant itself" if stored_name(name) in dominant else "no target of the mapping"
            yield Idle(f'{path}.minimum_target_class_imbalance["{name}"]', reason)
    if not repeats and not config.filter_samples_containing_only:
        yield from _set(config, path, ("source_to_target_class_mapping",), "nothing is filtered or repeated by it")


def _shown(handler: BboxHandlerConfig, classes: list[str]) -> Iterator[Idle]:
    """Entries of classes that the network does not have, or that postproc_classes leaves out."""
    path = "bbox_handler_config"
    if handler.disable_overlay:
        yield from _set(handler, path, ("overlay_linewidth",), "with disable_overlay")
    entries = set(handler.classwise_bbox_handler_config) - {"default"}
    for name in handler.postproc_classes:
        if classes and name not in classes:
            yield Idle(f'{path}.postproc_classes["{name}"]', "no class of target_classes")
    for name in sorted(entries):
        entry = f'{path}.classwise_bbox_handler_config["{name}"]'
        if classes and name not in classes:
            yield Idle(entry, "no class of target_classes")
        elif handler.postproc_classes and name not in handler.postproc_classes:
            yield Idle(entry, "not in postproc_classes")


def _handler(entry: ClasswiseBboxHandlerConfig, name: str, overlay_disabled: bool) -> Iterator[Idle]:
    path = f'bbox_handler_config.classwise_bbox_handler_config["{name}"]'
    clustering, reason = entry.clustering_config, "with NMS"
    yield from _clustering(clustering, f"{path}.clustering_config")
    nms = clustering.clustering_algorithm == ClusteringConfig.NMS
    if nms and entry.confidence_model != "aggregate_cov":
        yield from _set(entry, path, ("confidence_model",), reason)
    own = clustering.nms_confidence_threshold if nms else clustering.dbscan_confidence_threshold
    if own not in (0, entry.confidence_threshold):
        yield from _set(entry, path, ("confidence_threshold",), "clustering_config has its own")
    if name == "default":
        yield from _set(entry, path, ("output_map",), "classes keep their names")
    if overlay_disabled:
        yield from _set(entry, path, ("bbox_color",), "with disable_overlay")
