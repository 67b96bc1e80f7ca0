from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelConfig(_message.Message):
    __slots__ = ("pretrained_model_file", "freeze_pretrained_layers", "allow_loaded_model_modification", "num_layers", "use_pooling", "use_batch_norm", "dropout_rate", "activation", "objective_set", "training_precision", "freeze_bn", "freeze_blocks", "arch", "load_graph", "all_projections")
    class Activation(_message.Message):
        __slots__ = ("activation_type", "activation_parameters")
        class ActivationParametersEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: float
            def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
        ACTIVATION_TYPE_FIELD_NUMBER: _ClassVar[int]
        ACTIVATION_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
        activation_type: str
        activation_parameters: _containers.ScalarMap[str, float]
        def __init__(self, activation_type: _Optional[str] = ..., activation_parameters: _Optional[_Mapping[str, float]] = ...) -> None: ...
    class BboxObjective(_message.Message):
        __slots__ = ("input", "scale", "offset")
        INPUT_FIELD_NUMBER: _ClassVar[int]
        SCALE_FIELD_NUMBER: _ClassVar[int]
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        input: str
        scale: float
        offset: float
        def __init__(self, input: _Optional[str] = ..., scale: _Optional[float] = ..., offset: _Optional[float] = ...) -> None: ...
    class CovObjective(_message.Message):
        __slots__ = ("input",)
        INPUT_FIELD_NUMBER: _ClassVar[int]
        input: str
        def __init__(self, input: _Optional[str] = ...) -> None: ...
    class ObjectiveSet(_message.Message):
        __slots__ = ("bbox", "cov")
        BBOX_FIELD_NUMBER: _ClassVar[int]
        COV_FIELD_NUMBER: _ClassVar[int]
        bbox: ModelConfig.BboxObjective
        cov: ModelConfig.CovObjective
        def __init__(self, bbox: _Optional[_Union[ModelConfig.BboxObjective, _Mapping]] = ..., cov: _Optional[_Union[ModelConfig.CovObjective, _Mapping]] = ...) -> None: ...
    class TrainingPrecision(_message.Message):
        __slots__ = ("backend_floatx",)
        class BackendFloatx(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            FLOAT32: _ClassVar[ModelConfig.TrainingPrecision.BackendFloatx]
            FLOAT16: _ClassVar[ModelConfig.TrainingPrecision.BackendFloatx]
            INVALID: _ClassVar[ModelConfig.TrainingPrecision.BackendFloatx]
        FLOAT32: ModelConfig.TrainingPrecision.BackendFloatx
        FLOAT16: ModelConfig.TrainingPrecision.BackendFloatx
        INVALID: ModelConfig.TrainingPrecision.BackendFloatx
        BACKEND_FLOATX_FIELD_NUMBER: _ClassVar[int]
        backend_floatx: ModelConfig.TrainingPrecision.BackendFloatx
        def __init__(self, backend_floatx: _Optional[_Union[ModelConfig.TrainingPrecision.BackendFloatx, str]] = ...) -> None: ...
    PRETRAINED_MODEL_FILE_FIELD_NUMBER: _ClassVar[int]
    FREEZE_PRETRAINED_LAYERS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_LOADED_MODEL_MODIFICATION_FIELD_NUMBER: _ClassVar[int]
    NUM_LAYERS_FIELD_NUMBER: _ClassVar[int]
    USE_POOLING_FIELD_NUMBER: _ClassVar[int]
    USE_BATCH_NORM_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_RATE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_SET_FIELD_NUMBER: _ClassVar[int]
    TRAINING_PRECISION_FIELD_NUMBER: _ClassVar[int]
    FREEZE_BN_FIELD_NUMBER: _ClassVar[int]
    FREEZE_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    ARCH_FIELD_NUMBER: _ClassVar[int]
    LOAD_GRAPH_FIELD_NUMBER: _ClassVar[int]
    ALL_PROJECTIONS_FIELD_NUMBER: _ClassVar[int]
    pretrained_model_file: str
    freeze_pretrained_layers: bool
    allow_loaded_model_modification: bool
    num_layers: int
    use_pooling: bool
    use_batch_norm: bool
    dropout_rate: float
    activation: ModelConfig.Activation
    objective_set: ModelConfig.ObjectiveSet
    training_precision: ModelConfig.TrainingPrecision
    freeze_bn: bool
    freeze_blocks: _containers.RepeatedScalarFieldContainer[float]
    arch: str
    load_graph: bool
    all_projections: bool
    def __init__(self, pretrained_model_file: _Optional[str] = ..., freeze_pretrained_layers: _Optional[bool] = ..., allow_loaded_model_modification: _Optional[bool] = ..., num_layers: _Optional[int] = ..., use_pooling: _Optional[bool] = ..., use_batch_norm: _Optional[bool] = ..., dropout_rate: _Optional[float] = ..., activation: _Optional[_Union[ModelConfig.Activation, _Mapping]] = ..., objective_set: _Optional[_Union[ModelConfig.ObjectiveSet, _Mapping]] = ..., training_precision: _Optional[_Union[ModelConfig.TrainingPrecision, _Mapping]] = ..., freeze_bn: _Optional[bool] = ..., freeze_blocks: _Optional[_Iterable[float]] = ..., arch: _Optional[str] = ..., load_graph: _Optional[bool] = ..., all_projections: _Optional[bool] = ...) -> None: ...
