from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qatkit.spec import ClusteringConfig, DatasetExportConfig, Experiment, Inference, defaults
from tests.support.specs import COCO, EXPERIMENT, INFERENCE, KITTI, edited

HANDLERS = "bbox_handler_config.classwise_bbox_handler_config"


@pytest.mark.parametrize(
    "edit, value, expected",
    [
        ("", lambda spec: spec.dataset_config.data_sources[0].source_weight, 1.0),
        (
            "dataset_config.data_sources[0].source_weight = 0.5",
            lambda spec: spec.dataset_config.data_sources[0].source_weight,
            0.5,
        ),
        (
            "dataset_config.validation_data_source = {}",
            lambda spec: spec.dataset_config.validation_data_source.source_weight,
            1.0,
        ),
        ('dataset_config.image_extension = ".jpg"', lambda spec: spec.dataset_config.image_extension, "jpg"),
        ("", lambda spec: spec.augmentation_config.spatial_augmentation.zoom_min, 1.0),
        ("", lambda spec: spec.augmentation_config.spatial_augmentation.zoom_max, 1.0),
        ("", lambda spec: spec.augmentation_config.spatial_augmentation.rotate_probability, 1.0),
        (
            "augmentation_config.spatial_augmentation.rotate_probability = 0.25",
            lambda spec: spec.augmentation_config.spatial_augmentation.rotate_probability,
            0.25,
        ),
        ("model_config.arch", lambda spec: spec.model_config.arch, "resnet"),
        ('model_config.arch = "vgg"', lambda spec: spec.model_config.arch, "vgg"),
        ("", lambda spec: spec.model_config.num_layers, 18),
        ("model_config.num_layers = 34", lambda spec: spec.model_config.num_layers, 34),
        ("model_config.load_graph = true", lambda spec: spec.model_config.num_layers, 0),  # the file decides
        ("", lambda spec: spec.evaluation_config.first_validation_epoch, 1),
        ("", lambda spec: spec.training_config.checkpoint_interval, 10),
        ("training_config.checkpoint_interval = 3", lambda spec: spec.training_config.checkpoint_interval, 3),
        ("", lambda spec: spec.training_config.visualizer.scalar_logging_frequency, 10),
        ("", lambda spec: spec.training_config.visualizer.infrequent_logging_frequency, 1),
        ("", lambda spec: spec.training_config.visualizer.enabled, False),
        ("", lambda spec: spec.cost_function_config.max_objective_weight, 0.0),
        (
            "cost_function_config.enable_autoweighting = true",
            lambda spec: spec.cost_function_config.max_objective_weight,
            pytest.approx(0.9999),
        ),
    ],
)
def test_experiment(edit: str, value: Callable[[Experiment], Any], expected: object) -> None:
    spec = edited(Experiment, EXPERIMENT, *filter(None, [edit]))
    defaults.resolve_experiment(spec)
    assert value(spec) == expected


def test_missing_blocks_stay_missing() -> None:
    spec = Experiment(random_seed=1)
    defaults.resolve_experiment(spec)
    assert spec == Experiment(random_seed=1)


@pytest.mark.parametrize(
    "text, edit, value, expected",
    [
        (KITTI, "", lambda spec: spec.kitti_config.image_extension, ".png"),
        (KITTI, 'kitti_config.image_extension = "jpg"', lambda spec: spec.kitti_config.image_extension, ".jpg"),
        (KITTI, 'kitti_config.image_extension = ".jpg"', lambda spec: spec.kitti_config.image_extension, ".jpg"),
        (KITTI, "", lambda spec: spec.kitti_config.num_partitions, 2),
        (KITTI, 'kitti_config.partition_mode = "sequence"', lambda spec: spec.kitti_config.num_partitions, 0),
        (KITTI, "", lambda spec: spec.HasField("coco_config"), False),
        (COCO, "", lambda spec: spec.coco_config.num_partitions, 2),
    ],
)
def test_dataset_export(text: str, edit: str, value: Callable[[DatasetExportConfig], Any], expected: object) -> None:
    spec = edited(DatasetExportConfig, text, *filter(None, [edit]))
    defaults.resolve_dataset_export(spec)
    assert value(spec) == expected


@pytest.mark.parametrize(
    "edit, value, expected",
    [
        ("", lambda config: config.stride, 16),
        ("inferencer_config.stride = 32", lambda config: config.stride, 32),
        ("", lambda config: config.HasField("tensorrt_config"), False),
        (
            "inferencer_config.tensorrt_config = {calibrator_config {}}",
            lambda config: config.tensorrt_config.calibrator_config.n_batches,
            1,
        ),
        (
            "inferencer_config.tensorrt_config = {}",
            lambda config: config.tensorrt_config.HasField("calibrator_config"),
            False,
        ),
    ],
)
def test_inferencer(edit: str, value: Callable[[Any], Any], expected: object) -> None:
    spec = edited(Inference, INFERENCE, *filter(None, [edit]))
    defaults.resolve_inference(spec)
    assert value(spec.inferencer_config) == expected


@pytest.mark.parametrize(
    "key, fields, model, name",
    [
        ("car", "", "aggregate_cov", "car"),
        ("car", 'confidence_model: "mean_cov" output_map: "auto"', "mean_cov", "auto"),
        ("default", "", "aggregate_cov", ""),
    ],
)
def test_class_handler(key: str, fields: str, model: str, name: str) -> None:
    spec = edited(Inference, INFERENCE, HANDLERS, f'{HANDLERS} = {{key: "{key}" value {{{fields}}}}}')
    defaults.resolve_inference(spec)
    handler = spec.bbox_handler_config.classwise_bbox_handler_config[key]
    assert (handler.confidence_model, handler.output_map) == (model, name)


@pytest.mark.parametrize(
    "algorithm, clustering, dbscan, nms",
    [
        ("DBSCAN", "", 0.5, 0.0),
        ("HYBRID", "", 0.5, 0.0),
        ("NMS", "", 0.0, 0.5),
        ("DBSCAN", "dbscan_confidence_threshold: 2", 2.0, 0.0),  # the clustering's own counts
        ("NMS", "nms_confidence_threshold: 0.25", 0.0, 0.25),
    ],
)
def test_confidence_threshold_of_older_releases(algorithm: str, clustering: str, dbscan: float, nms: float) -> None:
    block = f"clustering_config {{clustering_algorithm: {algorithm} {clustering}}} confidence_threshold: 0.5"
    spec = edited(Inference, INFERENCE, f'{HANDLERS} = {{key: "car" value {{{block}}}}}')
    defaults.resolve_inference(spec)
    config: ClusteringConfig = spec.bbox_handler_config.classwise_bbox_handler_config["car"].clustering_config
    assert (config.dbscan_confidence_threshold, config.nms_confidence_threshold) == (dbscan, nms)


def test_clustering_stays_as_it_is_in_an_experiment() -> None:
    edit = 'postprocessing_config.target_class_config["car"].clustering_config.dbscan_min_samples = 0.25'
    spec = edited(Experiment, EXPERIMENT, edit)
    defaults.resolve_experiment(spec)
    entry = spec.postprocessing_config.target_class_config["car"]
    assert entry.clustering_config == ClusteringConfig(dbscan_eps=0.3, dbscan_min_samples=0.25)
