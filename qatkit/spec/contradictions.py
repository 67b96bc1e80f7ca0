"""What cannot be meant, though commands run with it: `qatkit check` calls it an error, other commands warn."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from qatkit.spec.backbones import STRIDE
from qatkit.spec.messages import DatasetExportConfig, Experiment, Inference


def of_experiment(experiment: Experiment) -> Iterator[str]:
    """Yield what in `experiment` does not fit together, one line each."""
    yield from _mapping(experiment)
    yield from _size(experiment)
    model = experiment.model_config
    if experiment.training_config.enable_qat and not model.pretrained_model_file:
        path = "model_config.pretrained_model_file"
        yield f"training_config.enable_qat needs a trained model to start from: {path}, with load_graph: true"


def _mapping(experiment: Experiment) -> Iterator[str]:
    """An object of such a class, once the data have one, ends every command that reads them."""
    classes = class_names(experiment)
    unknown = sorted(set(experiment.dataset_config.target_class_mapping.values()).difference(classes))
    if unknown and classes:
        path = "dataset_config.target_class_mapping"
        yield f"{path} leads to {', '.join(unknown)}, but cost_function_config has {', '.join(classes)}"


def _size(experiment: Experiment) -> Iterator[str]:
    image = experiment.augmentation_config.preprocessing
    for name in ("output_image_width", "output_image_height"):
        value = getattr(image, name)
        if value % STRIDE:
            path = f"augmentation_config.preprocessing.{name}"
            yield f"{path}: {value} is no multiple of {STRIDE}; TAO refuses it, DeepStream shifts boxes"


def class_names(experiment: Experiment) -> list[str]:
    """The classes in the order of the network's outputs."""
    return [target.name for target in experiment.cost_function_config.target_classes]


def of_conversion(experiment: Experiment, config: DatasetExportConfig) -> Iterator[str]:
    """Yield where `experiment` would not find what a conversion by `config` writes."""
    which = config.WhichOneof("convert_config_type")
    if which is None:
        return
    source: Message = getattr(config, which)
    folds, dataset = source.num_partitions, experiment.dataset_config
    if dataset.WhichOneof("dataset_split_type") == "validation_fold" and dataset.validation_fold >= max(folds, 1):
        yield f"dataset_config.validation_fold is {dataset.validation_fold}, but {which} makes {max(folds, 1)} folds"
    if which == "kitti_config":
        ours, theirs = dataset.image_extension.lstrip("."), source.image_extension.lstrip(".")
        if ours != theirs:
            yield f'dataset_config.image_extension is "{ours}", but kitti_config converts "{theirs}" images'


def of_inference(experiment: Experiment, inference: Inference) -> Iterator[str]:
    """Yield where `inference` does not fit the network of `experiment`."""
    config, image = inference.inferencer_config, experiment.augmentation_config.preprocessing
    ours = (image.output_image_width, image.output_image_height, image.output_image_channel)
    theirs = (config.image_width, config.image_height, config.image_channels)
    if ours != theirs:
        sizes = "{}x{}x{}".format(*theirs), "{}x{}x{}".format(*ours)
        yield f"inferencer_config has {sizes[0]} images, the training spec makes a network for {sizes[1]}"
    names = ", ".join(config.target_classes)
    trained = ", ".join(class_names(experiment))
    if names and names != trained:
        yield f"inferencer_config.target_classes is {names}; the training spec has, in this order, {trained}"
