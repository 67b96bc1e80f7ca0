"""The messages of the spec files, under one roof."""

from __future__ import annotations

from qatkit.spec.generated.augmentation_config_pb2 import AugmentationConfig
from qatkit.spec.generated.bbox_rasterizer_config_pb2 import BboxRasterizerConfig
from qatkit.spec.generated.cost_function_config_pb2 import CostFunctionConfig
from qatkit.spec.generated.dataset_config_pb2 import DatasetConfig, DataSource
from qatkit.spec.generated.dataset_export_config_pb2 import COCOConfig, DatasetExportConfig, KITTIConfig
from qatkit.spec.generated.evaluation_config_pb2 import EvaluationConfig
from qatkit.spec.generated.experiment_pb2 import Experiment
from qatkit.spec.generated.inference_pb2 import (
    BboxHandlerConfig,
    CalibratorConfig,
    ClasswiseBboxHandlerConfig,
    Inference,
    InferencerConfig,
    TensorRTConfig,
    TLTConfig,
)
from qatkit.spec.generated.model_config_pb2 import ModelConfig
from qatkit.spec.generated.objective_label_filter_pb2 import LabelFilter, ObjectiveLabelFilter
from qatkit.spec.generated.postprocessing_config_pb2 import ClusteringConfig, ConfidenceConfig, PostProcessingConfig
from qatkit.spec.generated.training_config_pb2 import (
    AdamOptimizerConfig,
    CostScalingConfig,
    EarlyStoppingAnnealingScheduleConfig,
    LearningRateConfig,
    OptimizerConfig,
    RegularizerConfig,
    SoftStartAnnealingScheduleConfig,
    TrainingConfig,
)
from qatkit.spec.generated.visualizer_config_pb2 import ClearMLConfig, VisualizerConfig, WandBConfig

__all__ = [
    "AdamOptimizerConfig",
    "AugmentationConfig",
    "BboxHandlerConfig",
    "BboxRasterizerConfig",
    "COCOConfig",
    "CalibratorConfig",
    "ClasswiseBboxHandlerConfig",
    "ClearMLConfig",
    "ClusteringConfig",
    "ConfidenceConfig",
    "CostFunctionConfig",
    "CostScalingConfig",
    "DataSource",
    "DatasetConfig",
    "DatasetExportConfig",
    "EarlyStoppingAnnealingScheduleConfig",
    "EvaluationConfig",
    "Experiment",
    "Inference",
    "InferencerConfig",
    "KITTIConfig",
    "LabelFilter",
    "LearningRateConfig",
    "ModelConfig",
    "ObjectiveLabelFilter",
    "OptimizerConfig",
    "PostProcessingConfig",
    "RegularizerConfig",
    "SoftStartAnnealingScheduleConfig",
    "TLTConfig",
    "TensorRTConfig",
    "TrainingConfig",
    "VisualizerConfig",
    "WandBConfig",
]
