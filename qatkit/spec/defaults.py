"""What a field that is not set means, written into the message, so that nobody else needs to know."""

from __future__ import annotations

from qatkit.spec.backbones import DEFAULT_ARCH, DEFAULT_DEPTH, STRIDE
from qatkit.spec.messages import (
    ClasswiseBboxHandlerConfig,
    ClusteringConfig,
    DatasetExportConfig,
    Experiment,
    Inference,
    WandBConfig,
)

# TAO has no default here: unset, its auto-weighting gives every objective a weight of 0 after the first epoch.
MAX_OBJECTIVE_WEIGHT = 0.9999


def resolve_experiment(experiment: Experiment) -> None:
    """Write the effective defaults into the blocks that are present; twice is the same as once."""
    if experiment.HasField("dataset_config"):
        _dataset(experiment)
    if experiment.HasField("augmentation_config"):
        spatial = experiment.augmentation_config.spatial_augmentation
        spatial.zoom_min = spatial.zoom_min or 1.0
        spatial.zoom_max = spatial.zoom_max or 1.0
        spatial.rotate_probability = spatial.rotate_probability or 1.0
    if experiment.HasField("model_config"):
        model = experiment.model_config
        if not model.load_graph:  # there the file decides
            model.arch = model.arch or DEFAULT_ARCH
            model.num_layers = model.num_layers or DEFAULT_DEPTH
    if experiment.HasField("evaluation_config"):
        evaluation = experiment.evaluation_config
        evaluation.first_validation_epoch = evaluation.first_validation_epoch or 1
    if experiment.HasField("training_config"):
        training = experiment.training_config
        training.checkpoint_interval = training.checkpoint_interval or 10
        visualizer = training.visualizer
        visualizer.scalar_logging_frequency = visualizer.scalar_logging_frequency or 10
        visualizer.infrequent_logging_frequency = visualizer.infrequent_logging_frequency or 1
    cost = experiment.cost_function_config
    if cost.enable_autoweighting:
        cost.max_objective_weight = cost.max_objective_weight or MAX_OBJECTIVE_WEIGHT


def wandb_is_on(config: WandBConfig) -> bool:
    """Whether a block that is there asks for something: as in TAO, unless it says otherwise."""
    return config.mode != WandBConfig.DISABLED and (config.enabled or not config.HasField("enabled"))


def _dataset(experiment: Experiment) -> None:
    config = experiment.dataset_config
    sources = list(config.data_sources)
    if config.HasField("validation_data_source"):
        sources.append(config.validation_data_source)
    for source in sources:
        source.source_weight = source.source_weight or 1.0
    config.image_extension = config.image_extension.lstrip(".")


def resolve_dataset_export(config: DatasetExportConfig) -> None:
    """Write the effective defaults into the block that is present; twice is the same as once."""
    if config.HasField("kitti_config"):
        kitti = config.kitti_config
        kitti.image_extension = "." + (kitti.image_extension.lstrip(".") or "png")
        if kitti.partition_mode == "random":
            kitti.num_partitions = kitti.num_partitions or 2
    if config.HasField("coco_config"):
        coco = config.coco_config
        coco.num_partitions = coco.num_partitions or len(coco.img_dir_names)


def resolve_inference(inference: Inference) -> None:
    """Write the effective defaults into the blocks that are present; twice is the same as once."""
    if inference.HasField("inferencer_config"):
        config = inference.inferencer_config
        config.stride = config.stride or STRIDE
        if config.HasField("tensorrt_config") and config.tensorrt_config.HasField("calibrator_config"):
            calibrator = config.tensorrt_config.calibrator_config
            calibrator.n_batches = calibrator.n_batches or 1
    for name, handler in inference.bbox_handler_config.classwise_bbox_handler_config.items():
        handler.confidence_model = handler.confidence_model or "aggregate_cov"
        if name != "default":  # serves several classes, each under its own name
            handler.output_map = handler.output_map or name
        _confidence_threshold(handler)


def _confidence_threshold(handler: ClasswiseBboxHandlerConfig) -> None:
    """Where older releases had the threshold of the clustering, as many published files still do."""
    if not handler.confidence_threshold:
        return
    clustering = handler.clustering_config
    nms = clustering.clustering_algorithm == ClusteringConfig.NMS
    name = "nms_confidence_threshold" if nms else "dbscan_confidence_threshold"
    setattr(clustering, name, getattr(clustering, name) or handler.confidence_threshold)
