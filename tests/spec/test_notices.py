from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from qatkit.spec import DatasetExportConfig, Experiment, Inference, effects, notices
from tests.support.specs import EXPERIMENT, IMAGE, INFERENCE, KITTI, SPATIAL, edited

MAPPING = "dataset_config.target_class_mapping"


@pytest.mark.parametrize("kind", effects.UNUSED)
def test_table_names_real_fields(kind: str) -> None:
    descriptor = descriptor_pool.Default().FindMessageTypeByName(f"qatkit.{kind}")
    assert set(effects.UNUSED[kind]) <= set(descriptor.fields_by_name)


@pytest.mark.parametrize(
    "edits, expected",
    [
        ((), []),
        (
            ("model_config.dropout_rate = 0.1", "model_config.activation = {}", "random_seed = 0"),
            ["read but not used: model_config.dropout_rate, model_config.activation"],
        ),
        (
            (
                'postprocessing_config.target_class_config["car"].clustering_config.neighborhood_size = 1',
                'postprocessing_config.target_class_config = {key: "bus" '
                "value {clustering_config {neighborhood_size: 1} confidence_config {}}}",
            ),
            [
                "read but not used: postprocessing_config.target_class_config.confidence_config, "
                "postprocessing_config.target_class_config.clustering_config.neighborhood_size; "
                'postprocessing_config.target_class_config["bus"] (no class of cost_function_config)'
            ],
        ),
        (
            (
                "evaluation_config.early_stopping_patience_steps = 3",
                "dataset_export_config = {image_directory_path: ''}",
            ),
            [
                "read but not used: dataset_export_config; evaluation_config.early_stopping_patience_steps (nor by "
                "TAO; patience_steps of early_stopping_annealing_schedule ends a training)"
            ],
        ),
        (
            ('dataset_config.image_extension = ".jpg"',),
            ['dataset_config.image_extension: ".jpg" is read as "jpg"'],
        ),
        (
            ("dataset_config.dataloader_mode = LEGACY",),
            ["dataset_config.dataloader_mode: there is one loader; LEGACY is read as MULTISOURCE"],
        ),
        ((f'{MAPPING} = {{key: "van" value: "car"}}',), []),  # car is mapped to itself
        (
            (MAPPING, f'{MAPPING} = {{key: "van" value: "car"}}'),
            [f"{MAPPING} is applied once; TAO applies it twice and loses objects of car"],
        ),
        (
            (
                MAPPING,
                f'{MAPPING} = {{key: "a" value: "car"}}',
                f'{MAPPING} = {{key: "car" value: "car"}}',
            ),
            [],
        ),
        (
            (MAPPING, f'{MAPPING} = {{key: "bus" value: "bus"}}'),
            [f"{MAPPING} leads to no car: the network will learn that there is none"],
        ),
        (
            (f'{MAPPING} = {{key: "Van" value: "car"}}',),
            [f'{MAPPING}: dataset_convert writes names in lower case, which key "Van" does not match'],
        ),
        ((f'{MAPPING} = {{key: "Car" value: "car"}}',), []),  # beside "car"
        (
            (f'{MAPPING} = {{key: "traffic light" value: "car"}}',),
            [f'{MAPPING}: dataset_convert writes names without spaces, which key "traffic light" does not match'],
        ),
        (
            ("model_config.freeze_blocks = 7", 'model_config.pretrained_model_file = "a.tlt"'),
            ["model_config.freeze_blocks: resnet has no 7; its blocks are 0 to 4"],
        ),
        ((f"{IMAGE}.min_bbox_width = 1",), []),
        (
            tuple(
                f'postprocessing_config.target_class_config["car"].clustering_config.{edit}'
                for edit in ("clustering_algorithm = HYBRID", "nms_iou_threshold = 0.4", "dbscan_min_samples = 1")
            ),
            [],
        ),
        (
            (f"{IMAGE}.min_bbox_height = 2",),
            [f"{IMAGE}: boxes below min_bbox_width or min_bbox_height are dropped in training; TAO keeps them"],
        ),
        (
            ('model_config.arch = "darknet"', "model_config.num_layers = 19"),
            [f"{IMAGE}.output_image_height: 48 is no multiple of 32, the stride of darknet; DeepStream shifts boxes"],
        ),
        (
            ('model_config.arch = "darknet"', "model_config.load_graph = true"),
            [],  # the file decides
        ),
        ((f"{SPATIAL}.vflip_probability = 0.5",), [f"{SPATIAL}.vflip_probability is applied; TAO ignores it"]),
        (
            (f"{SPATIAL}.rotate_rad_max = 5",),
            [f"{SPATIAL}.rotate_rad_max is in degrees, as in TAO, despite its name"],
        ),
        (
            ('postprocessing_config.target_class_config["car"].clustering_config.dbscan_confidence_threshold = 0.9',),
            ["postprocessing_config: confidence thresholds count as named; TAO's evaluation swaps dbscan_ and nms_"],
        ),
        (
            ("cost_function_config.enable_autoweighting = true",),
            ["cost_function_config.max_objective_weight is not set, 0.9999 is taken; TAO's loss would become 0"],
        ),
        (
            ("cost_function_config.enable_autoweighting = true", "cost_function_config.max_objective_weight = 0.9"),
            [],
        ),
    ],
)
def test_experiment(edits: tuple[str, ...], expected: list[str]) -> None:
    assert list(notices.of_experiment(edited(Experiment, EXPERIMENT, *edits))) == expected


@pytest.mark.parametrize(
    "kind, text, edits, expected",
    [
        (DatasetExportConfig, KITTI, (), []),
        (
            DatasetExportConfig,
            KITTI,
            ('image_directory_path = "data"', 'target_class_mapping = {key: "a" value: "b"}'),
            ["read but not used: image_directory_path, target_class_mapping"],
        ),
        (
            DatasetExportConfig,
            KITTI,
            (
                'sample_modifier_config = {source_to_target_class_mapping: {key: "Car" value: "car"} '
                'filter_samples_containing_only: "CAR"}',
            ),
            ["sample_modifier_config: names count as dataset_convert writes them: CAR is car, Car is car"],
        ),
        (
            DatasetExportConfig,
            KITTI,
            (
                'sample_modifier_config = {source_to_target_class_mapping: {key: "traffic light" value: "light"} '
                'filter_samples_containing_only: "light"}',
            ),
            ["sample_modifier_config: names count as dataset_convert writes them: traffic light is trafficlight"],
        ),
        (Inference, INFERENCE, (), []),
        (
            Inference,
            INFERENCE,
            (
                'inferencer_config.input_nodes = "input_1"',
                'inferencer_config.tensorrt_config = {parser: CAFFE prototxt: "a" trt_engine: "b"}',
            ),
            [
                "read but not used: inferencer_config.input_nodes, inferencer_config.tensorrt_config.parser, "
                "inferencer_config.tensorrt_config.prototxt"
            ],
        ),
    ],
)
def test_other_specs(kind: type[Message], text: str, edits: tuple[str, ...], expected: list[str]) -> None:
    told = {DatasetExportConfig: notices.of_dataset_export, Inference: notices.of_inference}
    assert list(told[kind](edited(kind, text, *edits))) == expected


@pytest.mark.parametrize(
    "edits, expected",
    [
        ((), []),
        (
            (
                "bbox_handler_config.kitti_dump = true",
                'bbox_handler_config.classwise_bbox_handler_config["car"].output_map = "a red car"',
            ),
            ['bbox_handler_config.kitti_dump: label files leave out the spaces in "a red car"'],
        ),
        (('bbox_handler_config.classwise_bbox_handler_config["car"].output_map = "a red car"',), []),
        (
            ("inferencer_config.stride = 8", "inferencer_config.image_width = 72"),
            ["read but not used: inferencer_config.stride (the network tells its own)"],
        ),
        (
            ("inferencer_config.image_height = 50", 'inferencer_config.input_nodes = "input_1"'),
            [
                "read but not used: inferencer_config.input_nodes",
                "inferencer_config.image_height: 50 is no multiple of 16, the network's stride",
            ],
        ),
    ],
)
def test_inference(edits: tuple[str, ...], expected: list[str]) -> None:
    assert list(notices.of_inference(edited(Inference, INFERENCE, *edits))) == expected
