"""Every field of every spec changes something that can be seen, or its user is told that it does not.

`USED` has an edit for each field, and what it changes; `IDLE` the settings beside which a field changes nothing, and
is told of. Both are held to what the packages compute, and together with `UNUSED` to the schema: a new field fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from qatkit.spec import DatasetExportConfig, Experiment, Inference, checks, defaults, notices
from qatkit.spec.effects import UNUSED
from tests.support import effects as seen
from tests.support.specs import BOX as EVALUATION_BOX
from tests.support.specs import (
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
    edited,
)

SECOND_SOURCE = (
    'dataset_config.data_sources = {tfrecords_path: "ROOT/b/records/*" image_directory_path: "ROOT/b/images"}'
)
COLOR = "augmentation_config.color_augmentation"
MODEL, DATA, COST, TRAINING = "model_config", "dataset_config", "cost_function_config", "training_config"
ADAM, REGULARIZER = f"{TRAINING}.optimizer.adam", f"{TRAINING}.regularizer"
EVALUATION, SCALING = "evaluation_config", f"{TRAINING}.cost_scaling"
NMS = f"{CLUSTERING}.clustering_algorithm = NMS"
OVERFLOWING = f"{SCALING} = {{initial_exponent: 200 increment: 1 decrement: 180}}"
VISUALIZER = f"{TRAINING}.visualizer"
SHOWN = (
    f"{VISUALIZER} = {{enabled: true num_images: 2 "
    'target_class_config {key: "car" value {coverage_threshold: 0.2}}}'
)
MASK = "loss_mask_label_filter"
FILTER = f"{MASK}.objective_label_filter_configs[0].label_filter"
CROP, WINDOW = f"{FILTER}.bbox_crop_label_filter", "crop_left: 1 crop_right: 62 crop_top: 1 crop_bottom: 46"
AUTOWEIGHTED = (f"{COST}.enable_autoweighting = true", f"{COST}.max_objective_weight = 0.9999")
ONE_OF_THEM = f"{TARGET}.objectives[1]"
EARLY_STOPPING = (
    f"{TRAINING}.learning_rate.soft_start_annealing_schedule",
    f"{TRAINING}.learning_rate.early_stopping_annealing_schedule = "
    "{min_learning_rate: 1e-5 max_learning_rate: 1e-3 soft_start_epochs: 1 annealing_epochs: 1 patience_steps: 1}",
    f"{TRAINING}.num_epochs = 8",
)
CONSTANT = (f"{SOFT_START}.soft_start = 0", f"{SOFT_START}.annealing = 1")
LOADED = (f'{MODEL}.pretrained_model_file = "ROOT/10.tlt"', f"{MODEL}.load_graph = true")
PRETRAINED = (f'{MODEL}.pretrained_model_file = "ROOT/10.tlt"', f"{MODEL}.use_batch_norm = true")
OVERLAP = f"{EVALUATION}.minimum_detection_ground_truth_overlap"
KITTI_ROOT = 'kitti_config.root_directory_path = "ROOT/kitti"'
SEQUENCE = (
    'kitti_config.partition_mode = "sequence"',
    'kitti_config.kitti_sequence_to_frames_file = "sequences.json"',
    "kitti_config.num_partitions = 2",
)
MODIFIER = "sample_modifier_config"
MODIFIED = (
    f'{MODIFIER} = {{source_to_target_class_mapping: {{key: "car" value: "Car"}} '
    'source_to_target_class_mapping: {key: "Bus" value: "bus"}}'
)
RARE = f'{MODIFIER}.minimum_target_class_imbalance = {{key: "BUS" value: 0.5}}'
DUPLICATES, DOMINANT = f"{MODIFIER}.num_duplicates = 2", f'{MODIFIER}.dominant_target_classes = "CAR"'
TRT = "inferencer_config.tensorrt_config"
HANDLER = "bbox_handler_config"
CAR = f'{HANDLER}.classwise_bbox_handler_config["car"]'
CAR_CLUSTERING = f"{CAR}.clustering_config"
CAR_NMS = f"{CAR_CLUSTERING}.clustering_algorithm = NMS"


def filtered(label_filter: str) -> tuple[str, ...]:
    """A loss mask with one filter."""
    return (f"{MASK} = {{objective_label_filter_configs {{label_filter {{{label_filter}}}}}}}",)


# What is observed, the edit, and the edits that come before it.
Row = tuple[str, ...]
USED: tuple[Row, ...] = (
    ("graph", "random_seed = 1"),
    ("batch", "random_seed = 1"),
    ("frames", f'{DATA}.data_sources[0].tfrecords_path = "ROOT/b/records/*"'),
    ("frames", f'{DATA}.data_sources[0].image_directory_path = "ROOT/b/images"'),
    ("frames", f"{DATA}.data_sources[0].source_weight = 3"),
    ("frames", f'{DATA}.image_extension = "jpg"'),
    ("frames", f'{DATA}.target_class_mapping = {{key: "van" value: "car"}}'),
    ("frames", f"{DATA}.validation_fold = 1"),
    *(
        ("frames", f"{DATA}.validation_data_source.{edit}", f"{DATA}.validation_data_source = {{{source}}}")
        for source in ('tfrecords_path: "ROOT/b/records/*" image_directory_path: "ROOT/b/images"',)
        for edit in ('tfrecords_path = "ROOT/a/records/*"', 'image_directory_path = "ROOT/a"', "source_weight = 2")
    ),
    ("batch", f"{DATA}.sampling_mode = UNIFORM", SECOND_SOURCE),
    ("pixels", f"{IMAGE}.output_image_width = 80"),
    ("pixels", f"{IMAGE}.output_image_height = 64"),
    ("pixels", f"{IMAGE}.output_image_channel = 1"),
    ("pixels", f"{IMAGE}.enable_auto_resize = true"),
    ("pixels", f"{IMAGE}.scale_width = 0.5"),
    ("pixels", f"{IMAGE}.scale_height = 0.5"),
    *(
        ("pixels", f"{IMAGE}.{name} = {value}", *(f"{IMAGE}.{other}" for other in window))
        for name, value in (("crop_left", 1), ("crop_top", 1), ("crop_right", 65), ("crop_bottom", 49))
        for window in (("crop_left = 2", "crop_right = 66", "crop_top = 2", "crop_bottom = 50"),)
    ),
    ("batch", f"{IMAGE}.min_bbox_width = 40", f"{IMAGE}.enable_auto_resize = true"),
    ("batch", f"{IMAGE}.min_bbox_height = 30", f"{IMAGE}.enable_auto_resize = true"),
    *(
        ("changes", f"{SPATIAL}.{name} = {value}", f"{SPATIAL}.rotate_rad_max = {'0' if 'max' in name else '10'}")
        for name, value in {
            "hflip_probability": 0.5,
            "vflip_probability": 0.5,
            "zoom_min": 0.7,
            "zoom_max": 1.4,
            "translate_max_x": 8,
            "translate_max_y": 8,
            "rotate_rad_max": 30,
            "rotate_probability": 0.3,
        }.items()
    ),
    *(
        ("changes", f"{COLOR}.{name} = {value}", f"{COLOR}.contrast_scale_max = 0.1")
        for name, value in {
            "color_shift_stddev": 0.2,
            "hue_rotation_max": 25,
            "saturation_shift_max": 0.3,
            "contrast_scale_max": 0.4,
            "contrast_center": 0.5,
        }.items()
    ),
    ("detections", f"{CLUSTERING}.clustering_algorithm = NMS"),
    ("detections", f"{CLUSTERING}.coverage_threshold = 0.6"),
    ("detections", f"{CLUSTERING}.dbscan_eps = 0.6"),
    ("detections", f"{CLUSTERING}.dbscan_min_samples = 2"),
    ("detections", f"{CLUSTERING}.dbscan_confidence_threshold = 1.5"),
    ("detections", f"{CLUSTERING}.minimum_bounding_box_height = 25"),
    ("detections", f"{CLUSTERING}.nms_iou_threshold = 0.1", NMS),
    ("detections", f"{CLUSTERING}.nms_confidence_threshold = 0.6", NMS),
    ("start", f'{MODEL}.pretrained_model_file = "ROOT/10.tlt"', f"{MODEL}.use_batch_norm = true"),
    ("start", f"{MODEL}.load_graph = true", *PRETRAINED, f"{MODEL}.num_layers = 18"),
    ("start", f"{MODEL}.freeze_blocks = 1", *PRETRAINED),
    ("start", f"{MODEL}.freeze_blocks = 1", *LOADED),
    ("start", f"{MODEL}.freeze_bn = true", *PRETRAINED),
    ("start", f"{MODEL}.freeze_bn = true", *LOADED),
    ("graph", f'{MODEL}.arch = "mobilenet_v1"'),
    ("graph", f"{MODEL}.num_layers = 18"),
    ("graph", f"{MODEL}.use_pooling = true", f'{MODEL}.arch = "vgg"', f"{MODEL}.num_layers = 16"),
    ("graph", f"{MODEL}.use_batch_norm = true"),
    ("graph", f"{MODEL}.all_projections = true", f"{MODEL}.num_layers = 18"),
    ("graph", f'{MODEL}.objective_set.bbox.input = "block_3a_relu"'),
    ("graph", f'{MODEL}.objective_set.cov.input = "block_3a_relu"'),
    ("meaning", f"{MODEL}.objective_set.bbox.scale = 20"),
    ("targets", f"{MODEL}.objective_set.bbox.scale = 20"),
    ("meaning", f"{MODEL}.objective_set.bbox.offset = 2"),
    ("targets", f"{MODEL}.objective_set.bbox.offset = 2"),
    ("precision", f"{MODEL}.training_precision.backend_floatx = FLOAT16"),
    ("plan", f"{EVALUATION}.validation_period_during_training = 2"),
    ("plan", f"{EVALUATION}.first_validation_epoch = 3"),
    ("evaluated", f'{OVERLAP} = {{key: "car" value: 0.01}}'),
    ("evaluated", f"{EVALUATION}.average_precision_mode = INTEGRATE", f'{OVERLAP} = {{key: "car" value: 0.01}}'),
    *(
        ("evaluated", f"{EVALUATION_BOX}.{name} = {value}")
        for name, value in {
            "minimum_height": 20,
            "maximum_height": 20,
            "minimum_width": 20,
            "maximum_width": 20,
        }.items()
    ),
    ("meaning", f'{TARGET}.name = "van"'),
    ("cost", f"{TARGET}.class_weight = 3"),
    ("cost", f"{TARGET}.coverage_foreground_weight = 0.5"),
    ("problems", f'{ONE_OF_THEM}.name = "cov"'),
    ("cost", f"{ONE_OF_THEM}.initial_weight = 2"),
    ("cost", f"{ONE_OF_THEM}.weight_target = 1e-9", *AUTOWEIGHTED),
    ("cost", f"{COST}.enable_autoweighting = true", f"{COST}.max_objective_weight = 0.9999"),
    ("cost", f"{COST}.max_objective_weight = 0.6", *AUTOWEIGHTED),
    ("cost", f"{COST}.min_objective_weight = 0.1", *AUTOWEIGHTED),
    ("plan", f"{TRAINING}.batch_size_per_gpu = 3"),
    ("plan", f"{TRAINING}.num_epochs = 6"),
    ("plan", f"{TRAINING}.checkpoint_interval = 3"),
    ("network", f"{TRAINING}.enable_qat = true"),
    ("rates", f"{SOFT_START}.min_learning_rate = 2e-5"),
    ("rates", f"{SOFT_START}.max_learning_rate = 2e-3"),
    ("rates", f"{SOFT_START}.soft_start = 0.3"),
    ("rates", f"{SOFT_START}.annealing = 0.5"),
    ("rates", f"{EARLY}.min_learning_rate = 2e-5", *EARLY_STOPPING),
    ("rates", f"{EARLY}.max_learning_rate = 2e-3", *EARLY_STOPPING),
    ("rates", f"{EARLY}.soft_start_epochs = 2", *EARLY_STOPPING),
    ("rates", f"{EARLY}.annealing_epochs = 3", *EARLY_STOPPING),
    ("rates", f"{EARLY}.patience_steps = 3", *EARLY_STOPPING),
    ("weights", f"{REGULARIZER}.type = L2", f"{REGULARIZER}.weight = 0.1"),
    ("weights", f"{REGULARIZER}.weight = 0.1", f"{REGULARIZER}.type = L1"),
    ("weights", f"{ADAM}.epsilon = 1"),
    ("weights", f"{ADAM}.beta1 = 0.1"),
    ("weights", f"{ADAM}.beta2 = 0.1"),
    ("watched", f"{VISUALIZER}.enabled = true"),
    *(
        ("watched", f"{VISUALIZER}.{edit}", SHOWN)
        for edit in (
            "num_images = 1",
            "scalar_logging_frequency = 5",
            "infrequent_logging_frequency = 2",
            'target_class_config["car"].coverage_threshold = 0.99',
        )
    ),
    ("watched", f"{VISUALIZER}.scalar_logging_frequency = 5", f"{VISUALIZER} = {{clearml_config {{}}}}"),
    *(
        ("watched", f"{VISUALIZER}.wandb_config.{edit}", f"{VISUALIZER} = {{wandb_config {{}}}}")
        for edit in (
            "enabled = false",
            'key = "secret"',
            'project = "detector"',
            'entity = "team"',
            "reinit = true",
            'name = "first"',
            'tags = ["a", "b"]',
            'wandb_dir = "elsewhere"',
            'notes = "on the way"',
            "mode = OFFLINE",
            "mode = DISABLED",
        )
    ),
    *(
        ("watched", f"{VISUALIZER}.clearml_config.{edit}", f"{VISUALIZER} = {{clearml_config {{}}}}")
        for edit in (
            'project = "detector"',
            'task = "first"',
            'tags = ["a", "b"]',
            "reuse_last_task_id = true",
            "continue_last_task = true",
            "deferred_init = true",
        )
    ),
    ("weights", f"{SCALING}.enabled = true", OVERFLOWING),
    ("weights", f"{SCALING}.initial_exponent = 4", OVERFLOWING, f"{SCALING}.enabled = true"),
    ("weights", f"{SCALING}.decrement = 1", OVERFLOWING, f"{SCALING}.enabled = true"),
    (
        "weights",
        f"{SCALING}.increment = 200",
        f"{SCALING} = {{enabled: true initial_exponent: 4 increment: 1 decrement: 1}}",
    ),
    *(
        ("mask", f"{MASK}.{edit}", *filtered("bbox_dimensions_label_filter {min_width: 1}"))
        for edit in (
            "mask_multiplier = 0.5",
            "preserve_ground_truth = true",
            'objective_label_filter_configs[0].target_class_names = "car"',
            'objective_label_filter_configs[0].objective_names = "cov"',
        )
    ),
    *(
        ("mask", f"{FILTER}.bbox_dimensions_label_filter.{name} = 15", *filtered("bbox_dimensions_label_filter {}"))
        for name in ("min_width", "min_height", "max_width", "max_height")
    ),
    *(
        ("mask", f"{CROP}.{name} = {value}", *filtered(f"bbox_crop_label_filter {{{WINDOW}}}"))
        for name, value in (("crop_left", 30), ("crop_right", 4), ("crop_top", 20), ("crop_bottom", 2))
    ),
    (
        "mask",
        f'{FILTER}.source_class_label_filter.source_class_names = "dontcare"',
        *filtered('source_class_label_filter {source_class_names: "car"}'),
    ),
    *(
        ("targets", f"{RASTERIZER}.{name} = {value}")
        for name, value in {
            "cov_center_x": 0.2,
            "cov_center_y": 0.2,
            "cov_radius_x": 0.9,
            "cov_radius_y": 0.9,
            "bbox_min_radius": 3,
        }.items()
    ),
    ("targets", "bbox_rasterizer_config.deadzone_radius = 1"),
    # DatasetExportConfig
    ("records", 'kitti_config.root_directory_path = "ROOT/other"', KITTI_ROOT),
    ("records", 'kitti_config.image_dir_name = "images_2"', KITTI_ROOT),
    ("records", 'kitti_config.label_dir_name = "labels_2"', KITTI_ROOT),
    ("records", 'kitti_config.kitti_sequence_to_frames_file = "fewer.json"', KITTI_ROOT, *SEQUENCE),
    ("records", 'kitti_config.image_extension = ".jpg"', KITTI_ROOT),
    ("records", "kitti_config.num_partitions = 1", KITTI_ROOT, *SEQUENCE),
    ("records", "kitti_config.num_shards = 2", KITTI_ROOT),
    ("records", 'kitti_config.partition_mode = "random"', KITTI_ROOT, *SEQUENCE),
    ("records", "kitti_config.val_split = 60", KITTI_ROOT),
    ("coco records", 'coco_config.root_directory_path = "ROOT/kitti"'),
    ("coco records", 'coco_config.img_dir_names = ["train", "val"]'),
    ("coco records", 'coco_config.annotation_files = ["2.json", "3.json"]'),
    ("coco records", "coco_config.num_partitions = 3"),
    ("coco records", "coco_config.num_shards = [2, 1]"),
    ("records", f'{MODIFIER}.filter_samples_containing_only = "car"', KITTI_ROOT, MODIFIED),
    ("records", DOMINANT, KITTI_ROOT, MODIFIED, RARE, DUPLICATES),
    ("records", DUPLICATES, KITTI_ROOT, MODIFIED, RARE, DOMINANT),
    ("records", RARE, KITTI_ROOT, MODIFIED, DOMINANT, DUPLICATES),
    ("records", f"{MODIFIER}.max_training_samples = 1", KITTI_ROOT, MODIFIED),
    (
        "records",
        f'{MODIFIER}.source_to_target_class_mapping = {{key: "Bus" value: "car"}}',
        KITTI_ROOT,
        MODIFIED,
        f'{MODIFIER}.filter_samples_containing_only = "car"',
    ),
    # Inference
    ("inferred", 'inferencer_config.tlt_config.model = "other.tlt"'),
    ("inferred", f'{TRT}.trt_engine = "b.engine"', f'{TRT} = {{trt_engine: "a.engine"}}'),
    ("refused", f'{TRT}.etlt_model = "a.etlt"', f"{TRT} = {{}}"),
    ("inferred", "inferencer_config.batch_size = 1"),
    ("inferred", "inferencer_config.image_height = 64"),
    ("inferred", "inferencer_config.image_width = 80"),
    ("inferred", "inferencer_config.image_channels = 1"),
    ("inferred", 'inferencer_config.target_classes = ["car", "person"]'),
    ("inferred", f"{HANDLER}.kitti_dump = true"),
    ("inferred", f"{HANDLER}.disable_overlay = true"),
    ("inferred", f"{HANDLER}.overlay_linewidth = 3"),
    ("inferred", f'{HANDLER}.postproc_classes = "car"'),
    ("inferred", f"{CAR_CLUSTERING}.clustering_algorithm = NMS"),
    ("inferred", f"{CAR_CLUSTERING}.coverage_threshold = 0.6"),
    ("inferred", f"{CAR_CLUSTERING}.dbscan_eps = 0.6"),
    ("inferred", f"{CAR_CLUSTERING}.dbscan_min_samples = 2"),
    ("inferred", f"{CAR_CLUSTERING}.dbscan_confidence_threshold = 1.5"),
    ("inferred", f"{CAR_CLUSTERING}.minimum_bounding_box_height = 25"),
    ("inferred", f"{CAR_CLUSTERING}.nms_iou_threshold = 0.1", CAR_NMS),
    ("inferred", f"{CAR_CLUSTERING}.nms_confidence_threshold = 0.6", CAR_NMS),
    ("inferred", f'{CAR}.confidence_model = "mean_cov"'),
    ("inferred", f'{CAR}.output_map = "auto"'),
    ("inferred", f"{CAR}.confidence_threshold = 1.5"),
    *(("inferred", f"{CAR}.bbox_color.{channel} = 200") for channel in "RGB"),
)

# What does not change, what its user is told, the edit that changes nothing, and the edits that come before it.
IDLE: tuple[Row, ...] = (
    ("batch", "there is one source", f"{DATA}.sampling_mode = UNIFORM"),
    ("frames", "there is one loader", f"{DATA}.dataloader_mode = LEGACY"),
    ("changes", "without rotate_rad_max", f"{SPATIAL}.rotate_probability = 0.5"),
    ("changes", "less than a pixel", f"{SPATIAL}.translate_max_x = 0.9"),
    ("changes", "less than a pixel", f"{SPATIAL}.translate_max_y = 0.9"),
    ("changes", "without contrast_scale_max", f"{COLOR}.contrast_center = 0.5"),
    *(
        ("batch", "images are grey", f"{COLOR} = {{{name}: 0.2}}", f"{IMAGE}.output_image_channel = 1")
        for name in ("color_shift_stddev", "hue_rotation_max", "saturation_shift_max", "contrast_scale_max")
    ),
    *(
        (what, reason, f"{path}.{name} = {value}", *before)
        for what, path, nms in (("detections", CLUSTERING, NMS), ("inferred", CAR_CLUSTERING, CAR_NMS))
        for reason, names, before in (
            ("with DBSCAN", {"nms_iou_threshold": 0.1, "nms_confidence_threshold": 0.6}, ()),
            (
                "with NMS",
                {
                    "dbscan_eps": 0.6,
                    "dbscan_min_samples": 2,
                    "dbscan_confidence_threshold": 1.5,
                    "minimum_bounding_box_height": 25,
                },
                (nms,),
            ),
        )
        for name, value in names.items()
    ),
    *(
        ("start", "with load_graph the file decides", f"{MODEL}.{edit}", *LOADED)
        for edit in (
            "num_layers = 18",
            "use_pooling = true",
            "use_batch_norm = true",
            "all_projections = true",
            'objective_set.bbox.input = "block_3a_relu"',
            'objective_set.cov.input = "block_3a_relu"',
        )
    ),
    ("graph", "googlenet has one size", f"{MODEL}.num_layers = 34", f'{MODEL}.arch = "googlenet"'),
    ("graph", "googlenet has none", f"{MODEL}.use_pooling = true", f'{MODEL}.arch = "googlenet"'),
    ("graph", "googlenet has none", f"{MODEL}.all_projections = true", f'{MODEL}.arch = "googlenet"'),
    ("graph", "resnet 10 has nothing else", f"{MODEL}.all_projections = true"),
    ("graph", "squeezenet has none", f"{MODEL}.use_batch_norm = true", f'{MODEL}.arch = "squeezenet"'),
    ("graph", "squeezenet has none", f"{MODEL}.freeze_bn = true", f'{MODEL}.arch = "squeezenet"'),
    ("graph", "without use_batch_norm", f"{MODEL}.freeze_bn = true"),
    ("start", "resnet has no 5; its blocks are 0 to 4", f"{MODEL}.freeze_blocks = 5", *PRETRAINED),
    ("cost", "there is one class", f"{TARGET}.class_weight = 3", "ONE CLASS"),
    *(
        ("cost", "without enable_autoweighting", f"{COST}.{name} = {value}")
        for name, value in (("max_objective_weight", 0.6), ("min_objective_weight", 0.1))
    ),
    ("cost", "without enable_autoweighting", f"{ONE_OF_THEM}.weight_target = 3"),
    ("weights", "with NO_REG", f"{REGULARIZER}.weight = 0.1"),
    ("weights", "its weight is 0", f"{REGULARIZER}.type = L1"),
    *(
        ("watched", "without enabled", f"{VISUALIZER}.{edit}", f"{VISUALIZER} = {{{others}}}")
        for others in ("", "clearml_config {}")
        for edit in (
            "num_images = 1",
            "infrequent_logging_frequency = 2",
            'target_class_config = {key: "car" value {coverage_threshold: 0.5}}',
        )
    ),
    ("watched", "without enabled", f"{VISUALIZER}.scalar_logging_frequency = 5", f"{VISUALIZER} = {{}}"),
    (
        "watched",
        "without num_images",
        f'{VISUALIZER}.target_class_config = {{key: "car" value {{coverage_threshold: 0.5}}}}',
        f"{VISUALIZER} = {{enabled: true}}",
    ),
    (
        "watched",
        'target_class_config["van"]',
        f'{VISUALIZER}.target_class_config = {{key: "van" value {{coverage_threshold: 0.5}}}}',
        SHOWN,
    ),
    *(
        ("watched", "it is switched off", f'{VISUALIZER}.wandb_config.name = "first"', f"{VISUALIZER} = {{{off}}}")
        for off in ("wandb_config {enabled: false}", "wandb_config {mode: DISABLED}")
    ),
    ("mask", "without filters", f"{MASK}.mask_multiplier = 0.5"),
    ("mask", "without filters", f"{MASK}.preserve_ground_truth = true"),
    *(
        ("mask", "unless all four sides are set", f"{CROP}.{name} = 20", *filtered("bbox_crop_label_filter {}"))
        for name in ("crop_left", "crop_right", "crop_top", "crop_bottom")
    ),
    (
        "mask",
        "records have dontcare",
        f'{FILTER}.source_class_label_filter.source_class_names = ["van", "DontCare"]',
        *filtered('source_class_label_filter {source_class_names: "van"}'),
    ),
    *(
        ("weights", "without enabled", f"{SCALING}.{name} = 3", f"{SCALING} = {{}}")
        for name in ("initial_exponent", "increment", "decrement")
    ),
    ("rates", "with annealing 1", f"{SOFT_START}.min_learning_rate = 2e-5", *CONSTANT),
    (
        "rates",
        "without soft_start_epochs and annealing_epochs",
        f"{EARLY}.min_learning_rate = 2e-5",
        *EARLY_STOPPING,
        f"{EARLY}.soft_start_epochs = 0",
        f"{EARLY}.annealing_epochs = 0",
    ),
    ("detections", 'target_class_config["van"]', 'postprocessing_config.target_class_config = {key: "van"}'),
    ("evaluated", 'overlap["van"]', f'{OVERLAP} = {{key: "van" value: 0.5}}'),
    ("evaluated", 'evaluation_box_config["van"]', f'{EVALUATION}.evaluation_box_config = {{key: "van"}}'),
    ("targets", 'target_class_config["Car"]', 'bbox_rasterizer_config.target_class_config = {key: "Car"}'),
    (
        "frames",
        'which key "Traffic" does not match',
        f'{DATA}.target_class_mapping = {{key: "Traffic" value: "car"}}',
    ),
    ("frames", 'key "a b" does not match', f'{DATA}.target_class_mapping = {{key: "a b" value: "car"}}'),
    (
        "records",
        "with partition_mode random",
        'kitti_config.kitti_sequence_to_frames_file = "fewer.json"',
        KITTI_ROOT,
    ),
    ("records", "with partition_mode sequence", "kitti_config.val_split = 60", KITTI_ROOT, *SEQUENCE),
    ("records", "without num_duplicates", DOMINANT, KITTI_ROOT, MODIFIED),
    ("records", "without num_duplicates", RARE, KITTI_ROOT, MODIFIED),
    ("records", "without dominant_target_classes", DUPLICATES, KITTI_ROOT, MODIFIED),
    (
        "records",
        "is left to be rare",
        f'{MODIFIER}.dominant_target_classes = ["car", "bus"]',
        KITTI_ROOT,
        MODIFIED,
        DUPLICATES,
    ),
    (
        "records",
        'imbalance["van"] (no target of the mapping)',
        f'{MODIFIER}.minimum_target_class_imbalance = {{key: "van" value: 0.1}}',
        *(KITTI_ROOT, MODIFIED, RARE, DOMINANT, DUPLICATES),
    ),
    (
        "records",
        'imbalance["car"] (dominant itself)',
        f'{MODIFIER}.minimum_target_class_imbalance = {{key: "car" value: 0.1}}',
        *(KITTI_ROOT, MODIFIED, RARE, DOMINANT, DUPLICATES),
    ),
    ("records", "nothing is filtered or repeated by it", MODIFIED, KITTI_ROOT),
    ("inferred", "the network tells its own", "inferencer_config.stride = 8"),
    ("inferred", "trt_engine runs", f'{TRT}.etlt_model = "a.etlt"', f'{TRT} = {{trt_engine: "a.engine"}}'),
    ("inferred", "with disable_overlay", f"{HANDLER}.overlay_linewidth = 3", f"{HANDLER}.disable_overlay = true"),
    ("inferred", "with disable_overlay", f"{CAR}.bbox_color.R = 200", f"{HANDLER}.disable_overlay = true"),
    ("inferred", "with NMS", f'{CAR}.confidence_model = "mean_cov"', CAR_NMS),
    (
        "inferred",
        "clustering_config has its own",
        f"{CAR}.confidence_threshold = 1.5",
        f"{CAR_CLUSTERING}.dbscan_confidence_threshold = 0.7",
    ),
    (
        "inferred",
        "classes keep their names",
        f'{HANDLER}.classwise_bbox_handler_config["default"].output_map = "thing"',
    ),
    ("inferred", "no class of target_classes", f'{HANDLER}.postproc_classes = ["car", "bus", "Bus"]'),
    ("inferred", "no class of target_classes", f'{HANDLER}.classwise_bbox_handler_config = {{key: "CAR"}}'),
    (
        "inferred",
        "not in postproc_classes",
        f'{HANDLER}.classwise_bbox_handler_config = {{key: "bus" value {{output_map: "coach"}}}}',
        f'{HANDLER}.postproc_classes = "car"',
    ),
)
# A second class, so that weights of classes count, and a small network.
TWO_CLASSES = (
    f'{COST}.target_classes = {{name: "bus" class_weight: 1 coverage_foreground_weight: 0.1 '
    'objectives {name: "cov" initial_weight: 1 weight_target: 1} '
    'objectives {name: "bbox" initial_weight: 10 weight_target: 10}}',
    f'{DATA}.target_class_mapping = {{key: "bus" value: "bus"}}',
    f'{OVERLAP} = {{key: "bus" value: 0.5}}',
    f'{EVALUATION}.evaluation_box_config = {{key: "bus" value {{maximum_height: 9999 maximum_width: 9999}}}}',
    'postprocessing_config.target_class_config = {key: "bus" value {clustering_config {dbscan_eps: 0.3}}}',
    'bbox_rasterizer_config.target_class_config = {key: "bus" value {cov_center_x: 0.5 cov_center_y: 0.5 '
    "cov_radius_x: 0.4 cov_radius_y: 0.4 bbox_min_radius: 1}}",
)
BASE: dict[type[Message], tuple[str, tuple[str, ...]]] = {
    Experiment: (
        EXPERIMENT.replace('"records/*"', '"ROOT/a/records/*"').replace('"images"', '"ROOT/a/images"'),
        (f"{MODEL}.num_layers = 10",),
    ),
    DatasetExportConfig: (KITTI, ('kitti_config.image_extension = ".png"', "kitti_config.num_partitions = 2")),
    Inference: (
        INFERENCE.replace('target_classes: "car"', 'target_classes: "car" target_classes: "bus"'),
        (
            f'{HANDLER}.classwise_bbox_handler_config = {{key: "default" '
            "value {clustering_config {dbscan_eps: 0.3}}}",
        ),
    ),
}
ROOTS: dict[str, type[Message]] = {
    **{field: Experiment for field in Experiment.DESCRIPTOR.fields_by_name},
    **{field: DatasetExportConfig for field in DatasetExportConfig.DESCRIPTOR.fields_by_name},
    **{field: Inference for field in Inference.DESCRIPTOR.fields_by_name},
}
NOTICES: dict[type[Message], Callable[[Any], Iterator[str]]] = {
    Experiment: notices.of_experiment,
    DatasetExportConfig: notices.of_dataset_export,
    Inference: notices.of_inference,
}
RESOLVE: dict[type[Message], Callable[[Any], None]] = {
    Experiment: defaults.resolve_experiment,
    DatasetExportConfig: defaults.resolve_dataset_export,
    Inference: defaults.resolve_inference,
}


def fields(kind: Descriptor, path: str = "") -> Iterator[str]:
    """The path of every field below `kind`, as edits name it; not below those that are never used."""
    for field in kind.fields:
        place = f"{path}.{field.name}".lstrip(".")
        if field.name in UNUSED.get(kind.full_name.removeprefix("qatkit."), ()):
            continue
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            inner = inner.fields_by_name["value"].message_type
        if inner is None:
            yield place
        else:
            yield from fields(inner, place)


def path_of(edit: str) -> str:
    """The field that an edit changes, without the keys on the way."""
    return re.sub(r"\[[^]]*\]", "", edit.partition(" = ")[0])


def test_every_field_has_a_row() -> None:
    rows = {path_of(row[1]) for row in USED} | {path_of(row[2]) for row in IDLE}
    every = [path for root in (Experiment, DatasetExportConfig, Inference) for path in fields(root.DESCRIPTOR)]
    assert [path for path, count in Counter(every).items() if count > 1] == []
    assert sorted(set(every) - rows) == []


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("effects")
    seen.prepare(folder)
    return folder


class Observer:
    """Computes what is observed of a spec, and each only once."""

    def __init__(self, root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.root = root
        self._folders = tmp_path_factory
        self._known: dict[tuple[str, bytes], Any] = {}

    def specs(self, edit: str, before: Sequence[str], *, coco: bool = False) -> tuple[Message, Message]:
        """The spec without and with `edit`, as files have them."""
        kind = ROOTS[re.split(r"\W", edit)[0]]
        text, common = BASE[kind]
        if coco:
            text, common = COCO.replace('"data"', '"ROOT"').replace("val.json", "0.json"), ()
            text = text.replace("train.json", "1.json")
        elif kind is Experiment and "ONE CLASS" not in before:
            common += TWO_CLASSES
        text, *edits = (item.replace("ROOT", str(self.root)) for item in (text, *common, *before, edit))
        edits = [item for item in edits if item != "ONE CLASS"]
        return edited(kind, text, *edits[:-1]), edited(kind, text, *edits)

    def __call__(self, what: str, spec: Message) -> Any:
        key = (what, spec.SerializeToString(deterministic=True))
        if key not in self._known:
            self._known[key] = self._observed(what, spec)
        return self._known[key]

    def _observed(self, what: str, given: Message) -> Any:
        spec = type(given)()
        spec.CopyFrom(given)
        RESOLVE[type(spec)](spec)
        folder = self._folders.mktemp("out") / "results"
        if what == "problems":
            return checks.experiment_problems(spec)  # type: ignore[arg-type]
        if what.endswith("records"):
            return seen.of(seen.records, spec, folder)
        if what in ("inferred", "refused"):
            with pytest.MonkeyPatch.context() as patch:
                return seen.of(seen.inferred, given, self.root, folder, patch)
        if what == "watched":
            with pytest.MonkeyPatch.context() as patch:
                return seen.of(seen.watched, spec, folder, patch)
        return seen.of(getattr(seen, what), spec)


@pytest.fixture(scope="module")
def observe(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Observer:
    return Observer(root, tmp_path_factory)


def told(spec: Message) -> list[str]:
    return [line for line in NOTICES[type(spec)](spec) if line]


def is_error(observed: Any) -> bool:
    return isinstance(observed, str) and "Error: " in observed


@pytest.mark.parametrize("row", USED, ids=lambda row: f"{row[0]}-{path_of(row[1])}")
def test_used(row: Row, observe: Observer) -> None:
    what, edit, *before = row
    without, with_it = observe.specs(edit, before, coco=what == "coco records")
    assert with_it != without
    present = observe(what, without)
    assert what == "refused" or not is_error(present), present
    assert observe(what, with_it) != present
    assert not any(re.search(rf"not used: .*{re.escape(path_of(edit))}\b", line) for line in told(with_it))


@pytest.mark.parametrize("row", IDLE, ids=lambda row: f"{row[0]}-{row[1]}-{path_of(row[2])}")
def test_idle(row: Row, observe: Observer) -> None:
    what, reason, edit, *before = row
    without, with_it = observe.specs(edit, before)
    assert with_it != without
    present = observe(what, without)
    assert not is_error(present), present
    assert observe(what, with_it) == present
    cleared, _ = observe.specs(edit, [*before, edit.partition(" = ")[0]])
    if cleared == without:  # told of this field, not of others
        assert told(with_it) != told(without)
    assert any(reason in line for line in told(with_it)), told(with_it)
