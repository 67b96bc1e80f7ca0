from qatkit.spec.generated import postprocessing_config_pb2 as _postprocessing_config_pb2
from qatkit.spec.generated import visualizer_config_pb2 as _visualizer_config_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CalibratorConfig(_message.Message):
    __slots__ = ("calibration_cache", "calibration_tensorfile", "n_batches", "batch_size")
    CALIBRATION_CACHE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_TENSORFILE_FIELD_NUMBER: _ClassVar[int]
    N_BATCHES_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    calibration_cache: str
    calibration_tensorfile: str
    n_batches: int
    batch_size: int
    def __init__(self, calibration_cache: _Optional[str] = ..., calibration_tensorfile: _Optional[str] = ..., n_batches: _Optional[int] = ..., batch_size: _Optional[int] = ...) -> None: ...

class TLTConfig(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class TensorRTConfig(_message.Message):
    __slots__ = ("parser", "caffemodel", "prototxt", "uff_model", "etlt_model", "backend_data_type", "save_engine", "trt_engine", "calibrator_config")
    class Parser(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ETLT: _ClassVar[TensorRTConfig.Parser]
        UFF: _ClassVar[TensorRTConfig.Parser]
        CAFFE: _ClassVar[TensorRTConfig.Parser]
    ETLT: TensorRTConfig.Parser
    UFF: TensorRTConfig.Parser
    CAFFE: TensorRTConfig.Parser
    class BackendDataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FP32: _ClassVar[TensorRTConfig.BackendDataType]
        FP16: _ClassVar[TensorRTConfig.BackendDataType]
        INT8: _ClassVar[TensorRTConfig.BackendDataType]
    FP32: TensorRTConfig.BackendDataType
    FP16: TensorRTConfig.BackendDataType
    INT8: TensorRTConfig.BackendDataType
    PARSER_FIELD_NUMBER: _ClassVar[int]
    CAFFEMODEL_FIELD_NUMBER: _ClassVar[int]
    PROTOTXT_FIELD_NUMBER: _ClassVar[int]
    UFF_MODEL_FIELD_NUMBER: _ClassVar[int]
    ETLT_MODEL_FIELD_NUMBER: _ClassVar[int]
    BACKEND_DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SAVE_ENGINE_FIELD_NUMBER: _ClassVar[int]
    TRT_ENGINE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATOR_CONFIG_FIELD_NUMBER: _ClassVar[int]
    parser: TensorRTConfig.Parser
    caffemodel: str
    prototxt: str
    uff_model: str
    etlt_model: str
    backend_data_type: TensorRTConfig.BackendDataType
    save_engine: bool
    trt_engine: str
    calibrator_config: CalibratorConfig
    def __init__(self, parser: _Optional[_Union[TensorRTConfig.Parser, str]] = ..., caffemodel: _Optional[str] = ..., prototxt: _Optional[str] = ..., uff_model: _Optional[str] = ..., etlt_model: _Optional[str] = ..., backend_data_type: _Optional[_Union[TensorRTConfig.BackendDataType, str]] = ..., save_engine: _Optional[bool] = ..., trt_engine: _Optional[str] = ..., calibrator_config: _Optional[_Union[CalibratorConfig, _Mapping]] = ...) -> None: ...

class InferencerConfig(_message.Message):
    __slots__ = ("tlt_config", "tensorrt_config", "input_nodes", "output_nodes", "batch_size", "image_height", "image_width", "image_channels", "gpu_index", "target_classes", "stride")
    TLT_CONFIG_FIELD_NUMBER: _ClassVar[int]
    TENSORRT_CONFIG_FIELD_NUMBER: _ClassVar[int]
    INPUT_NODES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NODES_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    GPU_INDEX_FIELD_NUMBER: _ClassVar[int]
    TARGET_CLASSES_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    tlt_config: TLTConfig
    tensorrt_config: TensorRTConfig
    input_nodes: _containers.RepeatedScalarFieldContainer[str]
    output_nodes: _containers.RepeatedScalarFieldContainer[str]
    batch_size: int
    image_height: int
    image_width: int
    image_channels: int
    gpu_index: int
    target_classes: _containers.RepeatedScalarFieldContainer[str]
    stride: int
    def __init__(self, tlt_config: _Optional[_Union[TLTConfig, _Mapping]] = ..., tensorrt_config: _Optional[_Union[TensorRTConfig, _Mapping]] = ..., input_nodes: _Optional[_Iterable[str]] = ..., output_nodes: _Optional[_Iterable[str]] = ..., batch_size: _Optional[int] = ..., image_height: _Optional[int] = ..., image_width: _Optional[int] = ..., image_channels: _Optional[int] = ..., gpu_index: _Optional[int] = ..., target_classes: _Optional[_Iterable[str]] = ..., stride: _Optional[int] = ...) -> None: ...

class ClasswiseBboxHandlerConfig(_message.Message):
    __slots__ = ("clustering_config", "confidence_model", "output_map", "confidence_threshold", "bbox_color")
    class BboxColor(_message.Message):
        __slots__ = ("R", "G", "B")
        R_FIELD_NUMBER: _ClassVar[int]
        G_FIELD_NUMBER: _ClassVar[int]
        B_FIELD_NUMBER: _ClassVar[int]
        R: int
        G: int
        B: int
        def __init__(self, R: _Optional[int] = ..., G: _Optional[int] = ..., B: _Optional[int] = ...) -> None: ...
    CLUSTERING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_MAP_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    BBOX_COLOR_FIELD_NUMBER: _ClassVar[int]
    clustering_config: _postprocessing_config_pb2.ClusteringConfig
    confidence_model: str
    output_map: str
    confidence_threshold: float
    bbox_color: ClasswiseBboxHandlerConfig.BboxColor
    def __init__(self, clustering_config: _Optional[_Union[_postprocessing_config_pb2.ClusteringConfig, _Mapping]] = ..., confidence_model: _Optional[str] = ..., output_map: _Optional[str] = ..., confidence_threshold: _Optional[float] = ..., bbox_color: _Optional[_Union[ClasswiseBboxHandlerConfig.BboxColor, _Mapping]] = ...) -> None: ...

class BboxHandlerConfig(_message.Message):
    __slots__ = ("kitti_dump", "disable_overlay", "overlay_linewidth", "classwise_bbox_handler_config", "postproc_classes", "wandb_config")
    class ClasswiseBboxHandlerConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ClasswiseBboxHandlerConfig
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ClasswiseBboxHandlerConfig, _Mapping]] = ...) -> None: ...
    KITTI_DUMP_FIELD_NUMBER: _ClassVar[int]
    DISABLE_OVERLAY_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_LINEWIDTH_FIELD_NUMBER: _ClassVar[int]
    CLASSWISE_BBOX_HANDLER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    POSTPROC_CLASSES_FIELD_NUMBER: _ClassVar[int]
    WANDB_CONFIG_FIELD_NUMBER: _ClassVar[int]
    kitti_dump: bool
    disable_overlay: bool
    overlay_linewidth: int
    classwise_bbox_handler_config: _containers.MessageMap[str, ClasswiseBboxHandlerConfig]
    postproc_classes: _containers.RepeatedScalarFieldContainer[str]
    wandb_config: _visualizer_config_pb2.WandBConfig
    def __init__(self, kitti_dump: _Optional[bool] = ..., disable_overlay: _Optional[bool] = ..., overlay_linewidth: _Optional[int] = ..., classwise_bbox_handler_config: _Optional[_Mapping[str, ClasswiseBboxHandlerConfig]] = ..., postproc_classes: _Optional[_Iterable[str]] = ..., wandb_config: _Optional[_Union[_visualizer_config_pb2.WandBConfig, _Mapping]] = ...) -> None: ...

class Inference(_message.Message):
    __slots__ = ("inferencer_config", "bbox_handler_config")
    INFERENCER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    BBOX_HANDLER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    inferencer_config: InferencerConfig
    bbox_handler_config: BboxHandlerConfig
    def __init__(self, inferencer_config: _Optional[_Union[InferencerConfig, _Mapping]] = ..., bbox_handler_config: _Optional[_Union[BboxHandlerConfig, _Mapping]] = ...) -> None: ...
