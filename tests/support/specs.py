"""Small specs to begin a test from, and edits of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from qatkit.errors import SpecError
from qatkit.spec import DatasetExportConfig, Experiment, Inference, checks, defaults
from qatkit.spec.parse import parse

M = TypeVar("M", bound=Message)

SPECS = Path(__file__).parents[2] / "specs"

EXPERIMENT = """
random_seed: 42
dataset_config {
  data_sources { tfrecords_path: "records/*" image_directory_path: "images" }
  image_extension: "png"
  target_class_mapping { key: "car" value: "car" }
  validation_fold: 0
}
augmentation_config {
  preprocessing { output_image_width: 64 output_image_height: 48 output_image_channel: 3 }
}
postprocessing_config {
  target_class_config { key: "car" value { clustering_config { dbscan_eps: 0.3 } } }
}
model_config {
  arch: "resnet"
  objective_set { bbox { scale: 35.0 offset: 0.5 } cov { } }
}
evaluation_config {
  validation_period_during_training: 1
  minimum_detection_ground_truth_overlap { key: "car" value: 0.5 }
  evaluation_box_config { key: "car" value { maximum_height: 9999 maximum_width: 9999 } }
}
cost_function_config {
  target_classes {
    name: "car"
    class_weight: 1.0
    coverage_foreground_weight: 0.05
    objectives { name: "cov" initial_weight: 1.0 weight_target: 1.0 }
    objectives { name: "bbox" initial_weight: 10.0 weight_target: 10.0 }
  }
}
training_config {
  batch_size_per_gpu: 2
  num_epochs: 4
  learning_rate {
    soft_start_annealing_schedule {
      min_learning_rate: 1e-5 max_learning_rate: 1e-3 soft_start: 0.1 annealing: 0.7
    }
  }
  optimizer { adam { epsilon: 1e-8 beta1: 0.9 beta2: 0.999 } }
}
bbox_rasterizer_config {
  target_class_config {
    key: "car"
    value { cov_center_x: 0.5 cov_center_y: 0.5 cov_radius_x: 0.4 cov_radius_y: 0.4 bbox_min_radius: 1.0 }
  }
}
"""

KITTI = """
kitti_config {
  root_directory_path: "data"
  image_dir_name: "images"
  label_dir_name: "labels"
  partition_mode: "random"
  val_split: 20
}
"""

COCO = """
coco_config {
  root_directory_path: "data"
  img_dir_names: ["val", "train"]
  annotation_files: ["val.json", "train.json"]
}
"""

INFERENCE = """
inferencer_config {
  target_classes: "car"
  image_width: 64
  image_height: 48
  image_channels: 3
  batch_size: 2
  tlt_config { model: "model.tlt" }
}
bbox_handler_config {
  classwise_bbox_handler_config { key: "car" value { clustering_config { dbscan_eps: 0.3 } } }
}
"""

# Paths of blocks that many tests name.
SPATIAL = "augmentation_config.spatial_augmentation"
IMAGE = "augmentation_config.preprocessing"
CLUSTERING = 'postprocessing_config.target_class_config["car"].clustering_config'
TARGET = "cost_function_config.target_classes[0]"
SOFT_START = "training_config.learning_rate.soft_start_annealing_schedule"
EARLY = "training_config.learning_rate.early_stopping_annealing_schedule"
RASTERIZER = 'bbox_rasterizer_config.target_class_config["car"]'
BOX = 'evaluation_config.evaluation_box_config["car"]'

_TREATMENT: dict[type[Message], tuple[Callable[[Any], None], Callable[[Any, str], None]]] = {
    Experiment: (defaults.resolve_experiment, checks.check_experiment),
    DatasetExportConfig: (defaults.resolve_dataset_export, checks.check_dataset_export),
    Inference: (defaults.resolve_inference, checks.check_inference),
}


def edited(kind: type[M], text: str, *edits: str) -> M:
    """The spec `text` after `edits`: "a.b" removes field b of a, "a.b = {...}" adds a block, "a.b = 1" sets a scalar.

    `[0]` takes an element of a list, `["car"]` an entry of a map.
    """
    spec = parse(text, kind, "spec")
    for edit in edits:
        path, _, value = edit.partition(" = ")
        *parents, name = re.findall(r'\w+|\[\d+\]|\["\w+"\]', path)
        place: Any = spec
        for step in parents:
            key = step.strip('[]"')
            place = getattr(place, step) if step[0] != "[" else place[int(key) if key.isdigit() else key]
        block = value[:1] == "{"
        if not block:
            place.ClearField(name)
        if value:
            text_format.Merge(f"{name} {value}" if block else f"{name}: {value}", place)
    return spec


def checked(kind: type[M], text: str, edits: tuple[str, ...]) -> None:
    """Resolve and check the edited spec."""
    spec = edited(kind, text, *edits)
    resolve, check = _TREATMENT[kind]
    resolve(spec)
    check(spec, "spec")


def problems(kind: type[M], text: str, edits: tuple[str, ...]) -> str:
    """What the checks say of the edited spec."""
    with pytest.raises(SpecError) as caught:
        checked(kind, text, edits)
    return str(caught.value)
