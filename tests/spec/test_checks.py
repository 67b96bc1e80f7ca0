from __future__ import annotations

import pytest

from qatkit.spec import DatasetExportConfig, Experiment, Inference
from tests.support.specs import (
    BOX,
    CLUSTERING,
    COCO,
    EARLY,
    EXPERIMENT,
    IMAGE,
    INFERENCE,
    KITTI,
    RASTERIZER,
    SOFT_START,
    SPATIAL,
    TARGET,
    checked,
    problems,
)

FILTER = "loss_mask_label_filter.objective_label_filter_configs[0]"
HANDLER = 'bbox_handler_config.classwise_bbox_handler_config["car"]'
EARLY_STOPPING = "{min_learning_rate: 1e-5 max_learning_rate: 1e-3 patience_steps: "
DIMENSIONS = "{label_filter {bbox_dimensions_label_filter {"
WINDOW = "{label_filter {bbox_crop_label_filter {"
CONFIGS = "loss_mask_label_filter.objective_label_filter_configs"


@pytest.mark.parametrize(
    "edits, message",
    [
        (("dataset_config.validation_fold",), "dataset_config needs validation_fold or validation_data_source"),
        (
            (SOFT_START,),
            "training_config.learning_rate needs soft_start_annealing_schedule or early_stopping_annealing_schedule",
        ),
        (("training_config.optimizer.adam",), "training_config.optimizer needs adam"),
        (
            (f"{IMAGE}.crop_right = 32",),
            f"{IMAGE}: crop_right - crop_left must be output_image_width 64, found 32; "
            f"{IMAGE}: crop_bottom - crop_top must be output_image_height 48, found 0",
        ),
        (
            (f"{IMAGE}.crop_left = 100", f"{IMAGE}.crop_right = 36", f"{IMAGE}.crop_bottom = 48"),
            f"{IMAGE}: crop_right - crop_left must be output_image_width 64, found -64",
        ),
        ((f"{SPATIAL}.zoom_min = 2",), f"{SPATIAL}.zoom_max must be >= zoom_min, found 1 and 2"),
        (
            ('model_config.arch = "resnet18"',),
            "model_config.arch must be one of resnet, vgg, darknet, mobilenet_v1, mobilenet_v2, squeezenet, "
            'googlenet, efficientnet_b0, found "resnet18"',
        ),
        (
            ("model_config.num_layers = 20",),
            "model_config.num_layers of resnet must be one of 10, 18, 34, 50, 101, 152, 200, found 20",
        ),
        (('model_config.arch = "vgg"',), "model_config.num_layers of vgg must be one of 16, 19, found 18"),
        (('model_config.arch = "darknet"',), "model_config.num_layers of darknet must be one of 19, 53, found 18"),
        (("model_config.load_graph = true",), "model_config.load_graph needs pretrained_model_file"),
        (("model_config.freeze_blocks = 0",), "model_config.freeze_blocks needs pretrained_model_file"),
        (
            ("model_config.freeze_blocks = [0, 1.5]", 'model_config.pretrained_model_file = "a.tlt"'),
            "model_config.freeze_blocks[1] must be a whole number, found 1.5",
        ),
        (
            (f"{SOFT_START}.min_learning_rate = 1",),
            f"{SOFT_START}.max_learning_rate must be >= min_learning_rate, found 0.001 and 1",
        ),
        ((f"{SOFT_START}.soft_start = 0.8",), f"{SOFT_START}.annealing must be >= soft_start, found 0.7 and 0.8"),
        (
            (f"{EARLY} = {EARLY_STOPPING} 5}}",),
            f"{EARLY}.patience_steps must be from validation_period_during_training 1 to num_epochs 4, found 5",
        ),
        (
            (f"{EARLY} = {EARLY_STOPPING} 0}}",),
            f"{EARLY}.patience_steps must be from validation_period_during_training 1 to num_epochs 4, found 0",
        ),
        (
            ("training_config.cost_scaling = {enabled: true initial_exponent: 20 increment: 0.005}",),
            "training_config.cost_scaling.decrement must be > 0, found 0",
        ),
        (
            (f'{TARGET}.objectives[1].name = "cov"',),
            f"{TARGET}.objectives must be one cov and one bbox, found cov, cov",
        ),
        (
            (f'{TARGET}.objectives = {{name: "depth" initial_weight: 1}}',),
            f'{TARGET}.objectives[2].name must be cov or bbox, found "depth"; '
            f"{TARGET}.objectives must be one cov and one bbox, found bbox, cov, depth",
        ),
        (
            (f"{TARGET}.objectives[0].initial_weight", f"{TARGET}.objectives[1].initial_weight"),
            f"{TARGET}.objectives: one initial_weight at least must be > 0",
        ),
        (
            (
                "cost_function_config.enable_autoweighting = true",
                f"{TARGET}.objectives[0].weight_target",
                f"{TARGET}.objectives[1].weight_target",
            ),
            f"{TARGET}.objectives: one weight_target at least must be > 0 with enable_autoweighting",
        ),
        (
            ("cost_function_config.max_objective_weight = 0.1", "cost_function_config.min_objective_weight = 0.2"),
            "cost_function_config.max_objective_weight must be >= min_objective_weight, found 0.1 and 0.2",
        ),
        (
            (f"{BOX}.minimum_height = 10000", f"{BOX}.minimum_width = 10001"),
            f"{BOX}.maximum_height must be >= minimum_height, found 9999 and 10000; "
            f"{BOX}.maximum_width must be >= minimum_width, found 9999 and 10001",
        ),
        (
            ("cost_function_config.target_classes[0].name",),
            "cost_function_config.target_classes[0].name must be set",
        ),
        (
            (
                'cost_function_config.target_classes = {name: "car" class_weight: 1 coverage_foreground_weight: 0.05 '
                'objectives {name: "cov" initial_weight: 1} objectives {name: "bbox"}}',
            ),
            'cost_function_config.target_classes has the name "car" 2 times',
        ),
        (
            ('cost_function_config.target_classes[0].name = "bus"',),
            'bbox_rasterizer_config.target_class_config has no entry for class "bus" of cost_function_config; '
            'postprocessing_config.target_class_config has no entry for class "bus" of cost_function_config; '
            "evaluation_config.minimum_detection_ground_truth_overlap has no entry for class "
            '"bus" of cost_function_config; '
            'evaluation_config.evaluation_box_config has no entry for class "bus" of cost_function_config',
        ),
        (
            ('dataset_config.target_class_mapping = {key: "van" value: ""}',),
            'dataset_config.target_class_mapping["van"] needs a key and a value, found ""',
        ),
        ((f"{CONFIGS} = {{objective_names: []}}",), f"{FILTER}.label_filter is missing"),
        (
            (f"{CONFIGS} = {{label_filter {{}}}}",),
            f"{FILTER}.label_filter needs bbox_dimensions_label_filter or bbox_crop_label_filter or "
            "source_class_label_filter",
        ),
        (
            (f"{CONFIGS} = {{label_filter {{source_class_label_filter {{}}}}}}",),
            f"{FILTER}.label_filter.source_class_label_filter.source_class_names is missing",
        ),
        (
            (f"{CONFIGS} = {DIMENSIONS} max_width: 9 }}}} target_class_names: 'bus' objective_names: 'depth'}}",),
            f'{FILTER}.objective_names[0] must be cov or bbox, found "depth"; '
            f'{FILTER}.target_class_names: "bus" is no class of cost_function_config',
        ),
        (
            (f"{CONFIGS} = {DIMENSIONS} min_width: 9 max_width: 9 min_height: 3 max_height: 2}}}}}}",),
            f"{FILTER}.label_filter.bbox_dimensions_label_filter.max_width must be > min_width, found 9 and 9; "
            f"{FILTER}.label_filter.bbox_dimensions_label_filter.max_height must be > min_height, found 2 and 3",
        ),
        (
            (f"{CONFIGS} = {WINDOW} crop_left: 9 crop_right: 8 crop_top: 3 crop_bottom: 3}}}}}}",),
            f"{FILTER}.label_filter.bbox_crop_label_filter.crop_right must be > crop_left, found 8 and 9; "
            f"{FILTER}.label_filter.bbox_crop_label_filter.crop_bottom must be > crop_top, found 3 and 3",
        ),
    ],
)
def test_experiment_across_fields(edits: tuple[str, ...], message: str) -> None:
    assert problems(Experiment, EXPERIMENT, edits) == f"spec: {message}"


def test_many_problems_on_one_line() -> None:
    edits = tuple(f"{RASTERIZER}.{name} = 2" for name in ("cov_center_x", "cov_center_y", "cov_radius_x"))
    edits += ("training_config.num_epochs", "training_config.batch_size_per_gpu", f"{IMAGE}.output_image_width")
    message = problems(Experiment, EXPERIMENT, edits)
    assert message.endswith("; and 1 more") and message.count("; ") == 5 and "\n" not in message


@pytest.mark.parametrize(
    "edits",
    [
        (),
        (f"{SOFT_START}.annealing = 1",),
        (f"{SOFT_START}.soft_start = 0",),
        (f"{CLUSTERING}.dbscan_min_samples = 4", f"{CLUSTERING}.dbscan_confidence_threshold = 5.0"),
        (f"{CLUSTERING}.dbscan_min_samples = 0.05",),
        (f"{RASTERIZER}.bbox_min_radius = 1.5",),
        (f"{IMAGE}.output_image_height = 540",),
        (f"{IMAGE}.crop_right = 64", f"{IMAGE}.crop_bottom = 48"),
        (f"{IMAGE}.crop_left = 6", f"{IMAGE}.crop_right = 70", f"{IMAGE}.crop_bottom = 48"),
        ("evaluation_config.first_validation_epoch = 0",),
        ('postprocessing_config.target_class_config = {key: "bus" value {}}',),
        ('dataset_config.target_class_mapping = {key: "bus" value: "bus"}',),
        ('dataset_config.validation_data_source = {tfrecords_path: "a" image_directory_path: "b"}',),
        ("training_config.regularizer = {}", "training_config.cost_scaling = {}"),
        ('training_config.visualizer = {enabled: true wandb_config {project: "p"}}',),
        ("training_config.checkpoint_interval = 100",),
        ('model_config.arch = "vgg"', "model_config.num_layers = 16"),
        ('model_config.arch = "mobilenet_v2"',),
        # The file decides on the architecture.
        (
            'model_config.arch = "none"',
            "model_config.load_graph = true",
            'model_config.pretrained_model_file = "a.tlt"',
        ),
        ("dataset_export_config = {}",),
        (f"{CONFIGS} = {DIMENSIONS} min_width: 9 }}}} target_class_names: 'car' objective_names: 'cov'}}",),
    ],
)
def test_good_experiments(edits: tuple[str, ...]) -> None:
    checked(Experiment, EXPERIMENT, edits)


@pytest.mark.parametrize(
    "text, edits, message",
    [
        (KITTI, ("kitti_config", 'image_directory_path = "a"'), "coco_config or kitti_config is missing"),
        (KITTI, ("kitti_config.partition_mode",), "kitti_config.partition_mode must be random or sequence"),
        (
            KITTI,
            ('kitti_config.partition_mode = "alphabetical"',),
            'kitti_config.partition_mode must be random or sequence, found "alphabetical"',
        ),
        (KITTI, ("kitti_config.val_split = 101",), "kitti_config.val_split must be in 0..100 (percent), found 101"),
        (KITTI, ("kitti_config.val_split = -1",), "kitti_config.val_split must be in 0..100 (percent), found -1"),
        (
            KITTI,
            ("kitti_config.num_partitions = 3",),
            "kitti_config.num_partitions must be 2 with partition_mode random, found 3",
        ),
        (
            KITTI,
            ('kitti_config.partition_mode = "sequence"',),
            "kitti_config.kitti_sequence_to_frames_file must be set with partition_mode sequence",
        ),
        (COCO, ("coco_config.img_dir_names",), "coco_config.img_dir_names is missing"),
        (COCO, ("coco_config.annotation_files",), "coco_config.annotation_files is missing"),
        (
            COCO,
            ('coco_config.img_dir_names = ["a", ""]',),
            "coco_config.img_dir_names[1] must be set",
        ),
        (
            COCO,
            ('coco_config.annotation_files = ["a"]',),
            "coco_config.annotation_files needs num_partitions 2 values, found 1",
        ),
        (
            COCO,
            ("coco_config.num_partitions = 3",),
            "coco_config.img_dir_names needs num_partitions 3 values, found 2; "
            "coco_config.annotation_files needs num_partitions 3 values, found 2",
        ),
        (
            COCO,
            ("coco_config.num_shards = [1, 2, 3]",),
            "coco_config.num_shards needs one value or num_partitions 2, found 3",
        ),
        (
            KITTI,
            ('sample_modifier_config = {filter_samples_containing_only: "a" dominant_target_classes: "b"}',),
            "sample_modifier_config.filter_samples_containing_only: "
            '"a" is no value of source_to_target_class_mapping; '
            'sample_modifier_config.dominant_target_classes: "b" is no value of source_to_target_class_mapping',
        ),
        (
            KITTI,
            (
                'sample_modifier_config = {source_to_target_class_mapping: {key: "Car" value: "a"} '
                'source_to_target_class_mapping: {key: "car" value: "b"}}',
            ),
            'sample_modifier_config.source_to_target_class_mapping["car"]: as "car", the name in the records, it has '
            "two targets",
        ),
    ],
)
def test_dataset_export(text: str, edits: tuple[str, ...], message: str) -> None:
    assert problems(DatasetExportConfig, text, edits) == f"spec: {message}"


@pytest.mark.parametrize(
    "text, edits",
    [
        (KITTI, ()),
        (KITTI, ("kitti_config.val_split = 100",)),
        (KITTI, ("kitti_config.val_split = 0",)),
        (
            KITTI,
            ('kitti_config.partition_mode = "sequence"', 'kitti_config.kitti_sequence_to_frames_file = "a.json"'),
        ),
        (COCO, ()),
        (COCO, ("coco_config.num_shards = 8",)),
        (COCO, ("coco_config.num_shards = [32, 256]", "coco_config.num_partitions = 2")),
        (
            KITTI,
            (
                'sample_modifier_config = {dominant_target_classes: "b" '
                'source_to_target_class_mapping {key: "a" value: "b"}}',
            ),
        ),
        (
            KITTI,
            (
                'sample_modifier_config = {dominant_target_classes: "B" '
                'source_to_target_class_mapping {key: "a" value: "b"} '
                'source_to_target_class_mapping {key: "A" value: "B"}}',
            ),
        ),
    ],
)
def test_good_dataset_exports(text: str, edits: tuple[str, ...]) -> None:
    checked(DatasetExportConfig, text, edits)


@pytest.mark.parametrize(
    "edits, message",
    [
        (("inferencer_config",), "inferencer_config is missing"),
        (("bbox_handler_config",), "bbox_handler_config is missing"),
        (
            ("bbox_handler_config.classwise_bbox_handler_config",),
            "bbox_handler_config.classwise_bbox_handler_config is missing",
        ),
        (("inferencer_config.batch_size = 0",), "inferencer_config.batch_size must be > 0, found 0"),
        (("inferencer_config.image_height = 0",), "inferencer_config.image_height must be > 0, found 0"),
        (("inferencer_config.image_width = -1",), "inferencer_config.image_width must be > 0, found -1"),
        (("inferencer_config.image_channels = 4",), "inferencer_config.image_channels must be 1 or 3, found 4"),
        (("inferencer_config.stride = -1",), "inferencer_config.stride must be > 0, found -1"),
        (("inferencer_config.gpu_index = -1",), "inferencer_config.gpu_index must be >= 0, found -1"),
        (
            ("inferencer_config.tensorrt_config = {calibrator_config {n_batches: -1 batch_size: -1}}",),
            "inferencer_config.tensorrt_config.calibrator_config.n_batches must be > 0, found -1; "
            "inferencer_config.tensorrt_config.calibrator_config.batch_size must be >= 0, found -1",
        ),
        (
            ("bbox_handler_config.overlay_linewidth = -1",),
            "bbox_handler_config.overlay_linewidth must be >= 0, found -1",
        ),
        (
            (f'{HANDLER}.confidence_model = "mlp"',),
            f'{HANDLER}.confidence_model must be aggregate_cov or mean_cov, found "mlp"',
        ),
        (
            (f"{HANDLER}.confidence_threshold = -1",),
            f"{HANDLER}.clustering_config.dbscan_confidence_threshold must be >= 0, found -1",
        ),
        (
            (f"{HANDLER}.bbox_color = {{R: 256 G: -1 B: 300}}",),
            f"{HANDLER}.bbox_color.R must be in 0..255, found 256; "
            f"{HANDLER}.bbox_color.G must be in 0..255, found -1; "
            f"{HANDLER}.bbox_color.B must be in 0..255, found 300",
        ),
        (
            ('inferencer_config.target_classes = ["car", "bus"]',),
            'bbox_handler_config.classwise_bbox_handler_config has no entry for class "bus", nor "default"',
        ),
        (
            ('bbox_handler_config.postproc_classes = "bus"',),
            'bbox_handler_config.classwise_bbox_handler_config has no entry for class "bus", nor "default"',
        ),
    ],
)
def test_inference(edits: tuple[str, ...], message: str) -> None:
    assert message in problems(Inference, INFERENCE, edits)


@pytest.mark.parametrize(
    "edits",
    [
        (),
        (
            'inferencer_config.target_classes = ["car", "bus"]',
            'bbox_handler_config.classwise_bbox_handler_config = {key: "default" value {}}',
        ),
        ('inferencer_config.target_classes = ["car", "bus"]', 'bbox_handler_config.postproc_classes = "car"'),
        ("inferencer_config.tlt_config",),  # the command line names the model
    ],
)
def test_good_inferences(edits: tuple[str, ...]) -> None:
    checked(Inference, INFERENCE, edits)
