from qatkit.spec.generated import augmentation_config_pb2 as _augmentation_config_pb2
from qatkit.spec.generated import bbox_rasterizer_config_pb2 as _bbox_rasterizer_config_pb2
from qatkit.spec.generated import cost_function_config_pb2 as _cost_function_config_pb2
from qatkit.spec.generated import dataset_config_pb2 as _dataset_config_pb2
from qatkit.spec.generated import dataset_export_config_pb2 as _dataset_export_config_pb2
from qatkit.spec.generated import evaluation_config_pb2 as _evaluation_config_pb2
from qatkit.spec.generated import model_config_pb2 as _model_config_pb2
from qatkit.spec.generated import objective_label_filter_pb2 as _objective_label_filter_pb2
from qatkit.spec.generated import postprocessing_config_pb2 as _postprocessing_config_pb2
from qatkit.spec.generated import training_config_pb2 as _training_config_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Experiment(_message.Message):
    __slots__ = ("random_seed", "dataset_config", "augmentation_config", "postprocessing_config", "model_config", "evaluation_config", "cost_function_config", "training_config", "bbox_rasterizer_config", "loss_mask_label_filter", "dataset_export_config")
    RANDOM_SEED_FIELD_NUMBER: _ClassVar[int]
    DATASET_CONFIG_FIELD_NUMBER: _ClassVar[int]
    AUGMENTATION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESSING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    MODEL_CONFIG_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    COST_FUNCTION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    TRAINING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    BBOX_RASTERIZER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    LOSS_MASK_LABEL_FILTER_FIELD_NUMBER: _ClassVar[int]
    DATASET_EXPORT_CONFIG_FIELD_NUMBER: _ClassVar[int]
    random_seed: int
    dataset_config: _dataset_config_pb2.DatasetConfig
    augmentation_config: _augmentation_config_pb2.AugmentationConfig
    postprocessing_config: _postprocessing_config_pb2.PostProcessingConfig
    model_config: _model_config_pb2.ModelConfig
    evaluation_config: _evaluation_config_pb2.EvaluationConfig
    cost_function_config: _cost_function_config_pb2.CostFunctionConfig
    training_config: _training_config_pb2.TrainingConfig
    bbox_rasterizer_config: _bbox_rasterizer_config_pb2.BboxRasterizerConfig
    loss_mask_label_filter: _objective_label_filter_pb2.ObjectiveLabelFilter
    dataset_export_config: _containers.RepeatedCompositeFieldContainer[_dataset_export_config_pb2.DatasetExportConfig]
    def __init__(self, random_seed: _Optional[int] = ..., dataset_config: _Optional[_Union[_dataset_config_pb2.DatasetConfig, _Mapping]] = ..., augmentation_config: _Optional[_Union[_augmentation_config_pb2.AugmentationConfig, _Mapping]] = ..., postprocessing_config: _Optional[_Union[_postprocessing_config_pb2.PostProcessingConfig, _Mapping]] = ..., model_config: _Optional[_Union[_model_config_pb2.ModelConfig, _Mapping]] = ..., evaluation_config: _Optional[_Union[_evaluation_config_pb2.EvaluationConfig, _Mapping]] = ..., cost_function_config: _Optional[_Union[_cost_function_config_pb2.CostFunctionConfig, _Mapping]] = ..., training_config: _Optional[_Union[_training_config_pb2.TrainingConfig, _Mapping]] = ..., bbox_rasterizer_config: _Optional[_Union[_bbox_rasterizer_config_pb2.BboxRasterizerConfig, _Mapping]] = ..., loss_mask_label_filter: _Optional[_Union[_objective_label_filter_pb2.ObjectiveLabelFilter, _Mapping]] = ..., dataset_export_config: _Optional[_Iterable[_Union[_dataset_export_config_pb2.DatasetExportConfig, _Mapping]]] = ...) -> None: ...
