"""What a user should know about a spec that is good: fields without effect, and where TAO would do otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from qatkit.spec import effects
from qatkit.spec.backbones import ARCHITECTURES, DEFAULT_ARCH, STRIDE
from qatkit.spec.contradictions import class_names
from qatkit.spec.defaults import MAX_OBJECTIVE_WEIGHT
from qatkit.spec.messages import (
    AugmentationConfig,
    ClusteringConfig,
    DatasetConfig,
    DatasetExportConfig,
    Experiment,
    Inference,
    ModelConfig,
)
from qatkit.spec.names import stored_name

_KEY = re.compile(r"\[[^]]*\]")
_MOST_SHOWN = 5


def of_experiment(experiment: Experiment) -> Iterator[str]:
    """Yield what to tell the user of `experiment`, as it stands in the file; one line each."""
    yield from _unused(effects.of_experiment(experiment))
    yield from _data(experiment)
    yield from _mapping(dict(experiment.dataset_config.target_class_mapping), class_names(experiment))
    yield from _augmentation(experiment.augmentation_config)
    yield from _large_stride(experiment)
    yield from _blocks(experiment.model_config)
    yield from _thresholds_and_weights(experiment)


def of_inference(inference: Inference) -> Iterator[str]:
    """Yield what to tell the user of `inference`, as it stands in the file."""
    yield from _unused(effects.of_inference(inference))
    config, handler = inference.inferencer_config, inference.bbox_handler_config
    stride = config.stride or STRIDE
    for name in ("image_width", "image_height"):
        value = getattr(config, name)
        if value % stride:
            yield f"inferencer_config.{name}: {value} is no multiple of {stride}, the network's stride"
    names = {*config.target_classes, *(entry.output_map for entry in handler.classwise_bbox_handler_config.values())}
    if handler.kitti_dump and (spaced := [f'"{name}"' for name in sorted(names) if len(name.split()) > 1]):
        yield f"bbox_handler_config.kitti_dump: label files leave out the spaces in {_shortened(spaced)}"


def of_dataset_export(config: DatasetExportConfig) -> Iterator[str]:
    """Yield what to tell the user of `config`, as it stands in the file."""
    yield from _unused(effects.of_dataset_export(config))
    modifier = config.sample_modifier_config
    names = {
        *modifier.source_to_target_class_mapping,
        *modifier.source_to_target_class_mapping.values(),
        *modifier.minimum_target_class_imbalance,
        *modifier.filter_samples_containing_only,
        *modifier.dominant_target_classes,
    }
    if rewritten := [f"{name} is {stored_name(name)}" for name in sorted(names) if stored_name(name) != name]:
        yield f"sample_modifier_config: names count as dataset_convert writes them: {_shortened(rewritten)}"


def _unused(found: Iterable[effects.Idle]) -> Iterator[str]:
    """One line that names the fields without effect, if any, by reason; a field of several classes is named once."""
    by_reason: dict[str, dict[str, None]] = {"": {}}
    for idle in found:
        # An entry that is unused as a whole keeps its key.
        path = idle.path if idle.path.endswith("]") else _KEY.sub("", idle.path)
        by_reason.setdefault(idle.reason, {})[path] = None
    groups = [", ".join(paths) + (f" ({reason})" if reason else "") for reason, paths in by_reason.items() if paths]
    if groups:
        yield f"read but not used: {'; '.join(groups)}"


def _shortened(items: Sequence[str]) -> str:
    rest = len(items) - _MOST_SHOWN
    return ", ".join(items[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


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
        if stored_name(key) not in mapping:
            how = "in lower case" if key.lower() == stored_name(key) else "without spaces"
            yield f'{path}: dataset_convert writes names {how}, which key "{key}" does not match'


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


def _blocks(model: ModelConfig) -> Iterator[str]:
    """Of a loaded network the file knows its blocks (`training.start`)."""
    arch = model.arch or DEFAULT_ARCH
    if model.load_graph or arch not in ARCHITECTURES:
        return
    known = ARCHITECTURES[arch].blocks
    if missing := sorted({f"{block:g}" for block in model.freeze_blocks if block not in known}):
        listed = f"{', '.join(missing)}; its blocks are {known.start} to {known.stop - 1}"
        yield f"model_config.freeze_blocks: {arch} has no {listed}"


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
