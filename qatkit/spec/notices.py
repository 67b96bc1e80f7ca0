"""What a user should know about a spec that is good: fields without effect, and where TAO would do otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message

from qatkit.spec.backbones import ARCHITECTURES, STRIDE
from qatkit.spec.contradictions import class_names
from qatkit.spec.defaults import MAX_OBJECTIVE_WEIGHT
from qatkit.spec.messages import AugmentationConfig, ClusteringConfig, DatasetConfig, Experiment, Inference
from qatkit.spec.walk import joined, type_name, walk

# Parsed, and used by nothing. A field that a package begins to use leaves this table.
_UNUSED: dict[str, tuple[str, ...]] = {
    "Experiment": ("dataset_export_config", "loss_mask_label_filter"),
    "AugmentationConfig.Preprocessing": ("output_image_min", "output_image_max"),
    "PostProcessingConfig.TargetClassConfig": ("confidence_config",),
    "ClusteringConfig": ("neighborhood_size",),
    "ModelConfig": ("freeze_pretrained_layers", "allow_loaded_model_modification", "dropout_rate", "activation"),
    "EvaluationConfig": ("early_stopping_patience_steps",),
    "TrainingConfig": ("visualizer",),
    "CostScalingConfig": ("enabled",),
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
_KEY = re.compile(r"\[[^]]*\]")


def of_experiment(experiment: Experiment) -> Iterator[str]:
    """Yield what to tell the user of `experiment`, as it stands in the file; one line each."""
    yield from of_unused(experiment)
    yield from _data(experiment)
    yield from _mapping(dict(experiment.dataset_config.target_class_mapping), class_names(experiment))
    yield from _augmentation(experiment.augmentation_config)
    yield from _large_stride(experiment)
    yield from _thresholds_and_weights(experiment)


def of_inference(inference: Inference) -> Iterator[str]:
    """Yield what to tell the user of `inference`, as it stands in the file."""
    yield from of_unused(inference)
    config = inference.inferencer_config
    stride = config.stride or STRIDE
    for name in ("image_width", "image_height"):
        value = getattr(config, name)
        if value % stride:
            yield f"inferencer_config.{name}: {value} is no multiple of {stride}, the network's stride"


def of_unused(root: Message) -> Iterator[str]:
    """Yield one line that names the fields without effect, if any; a field set for several classes is named once."""
    found: dict[str, None] = {}
    for path, message in walk(root, skip=frozenset({"dataset_export_config"})):
        present = {field.name for field, _ in message.ListFields()}
        for name in _UNUSED.get(type_name(message), ()):
            if name in present:
                found[_KEY.sub("", joined(path, name))] = None
    if found:
        yield f"read but not used: {', '.join(found)}"


def _data(experiment: Experiment) -> Iterator[str]:
    config = experiment.dataset_config
    if config.image_extension.startswith("."):
        bare = config.image_extension.lstrip(".")
        yield f'dataset_config.image_extension: "{config.image_extension}" is read as "{bare}"'
    if config.dataloader_mode != DatasetConfig.MULTISOURCE:
        mode = DatasetConfig.DATALOADER_MODE.Name(config.dataloader_mode)
        yield f"dataset_config.dataloader_mode: there is one loader; {mode} is read as MULTISOURCE"


def _mapping(mapping: Mapping[str, str], classes: Sequence[str]) -> Iterator[str]:
    path = "dataset_config.target_class_mapping"
    if unreached := [name for name in classes if name and name not in mapping.values()]:
        yield f"{path} leads to no {', '.join(unreached)}: the network will learn that there is none"
    # The second pass finds no entry for the new name, or one that leads on to another class.
    lost = sorted({value for value in mapping.values() if mapping.get(value) != value})
    if lost:
        yield f"{path} is applied once; TAO applies it twice and loses objects of {', '.join(lost)}"
    for key in sorted(mapping):
        if key.lower() not in mapping:
            yield f'{path}: dataset_convert writes names in lower case, which key "{key}" does not match'


def _augmentation(config: AugmentationConfig) -> Iterator[str]:
    image, spatial = config.preprocessing, config.spatial_augmentation
    path = "augmentation_config.preprocessing"
    if image.min_bbox_width > 1 or image.min_bbox_height > 1:
        yield f"{path}: boxes below min_bbox_width or min_bbox_height are dropped in training; TAO keeps them"
    path = "augmentation_config.spatial_augmentation"
    if spatial.vflip_probability:
        yield f"{path}.vflip_probability is applied; TAO ignores it"
    if spatial.rotate_rad_max:
        yield f"{path}.rotate_rad_max is in degrees, as in TAO, despite its name"


def _large_stride(experiment: Experiment) -> Iterator[str]:
    """TAO asks for multiples of 16 only, whatever the network."""
    model, image = experiment.model_config, experiment.augmentation_config.preprocessing
    architecture = ARCHITECTURES.get(model.arch)
    if model.load_graph or architecture is None:
        return
    for name in ("output_image_width", "output_image_height"):
        value = getattr(image, name)
        if value % STRIDE == 0 and value % architecture.stride:
            needed = f"{value} is no multiple of {architecture.stride}, the stride of {model.arch}"
            yield f"augmentation_config.preprocessing.{name}: {needed}; DeepStream shifts boxes"


def _thresholds_and_weights(experiment: Experiment) -> Iterator[str]:
    entries = experiment.postprocessing_config.target_class_config.values()
    if any(_swapped_by_tao(entry.clustering_config) for entry in entries):
        yield "postprocessing_config: confidence thresholds count as named; TAO's evaluation swaps dbscan_ and nms_"
    cost = experiment.cost_function_config
    if cost.enable_autoweighting and not cost.max_objective_weight:
        taken = f"{MAX_OBJECTIVE_WEIGHT} is taken; TAO's loss would become 0"
        yield f"cost_function_config.max_objective_weight is not set, {taken}"


def _swapped_by_tao(config: ClusteringConfig) -> bool:
    return bool(config.dbscan_confidence_threshold != config.nms_confidence_threshold)
