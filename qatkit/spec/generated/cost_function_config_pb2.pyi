from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CostFunctionConfig(_message.Message):
    __slots__ = ("target_classes", "enable_autoweighting", "max_objective_weight", "min_objective_weight")
    class TargetClass(_message.Message):
        __slots__ = ("name", "class_weight", "coverage_foreground_weight", "objectives")
        class Objective(_message.Message):
            __slots__ = ("name", "initial_weight", "weight_target")
            NAME_FIELD_NUMBER: _ClassVar[int]
            INITIAL_WEIGHT_FIELD_NUMBER: _ClassVar[int]
            WEIGHT_TARGET_FIELD_NUMBER: _ClassVar[int]
            name: str
            initial_weight: float
            weight_target: float
            def __init__(self, name: _Optional[str] = ..., initial_weight: _Optional[float] = ..., weight_target: _Optional[float] = ...) -> None: ...
        NAME_FIELD_NUMBER: _ClassVar[int]
        CLASS_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        COVERAGE_FOREGROUND_WEIGHT_FIELD_NUMBER: _ClassVar[int]
        OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
        name: str
        class_weight: float
        coverage_foreground_weight: float
        objectives: _containers.RepeatedCompositeFieldContainer[CostFunctionConfig.TargetClass.Objective]
        def __init__(self, name: _Optional[str] = ..., class_weight: _Optional[float] = ..., coverage_foreground_weight: _Optional[float] = ..., objectives: _Optional[_Iterable[_Union[CostFunctionConfig.TargetClass.Objective, _Mapping]]] = ...) -> None: ...
    TARGET_CLASSES_FIELD_NUMBER: _ClassVar[int]
    ENABLE_AUTOWEIGHTING_FIELD_NUMBER: _ClassVar[int]
    MAX_OBJECTIVE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    MIN_OBJECTIVE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    target_classes: _containers.RepeatedCompositeFieldContainer[CostFunctionConfig.TargetClass]
    enable_autoweighting: bool
    max_objective_weight: float
    min_objective_weight: float
    def __init__(self, target_classes: _Optional[_Iterable[_Union[CostFunctionConfig.TargetClass, _Mapping]]] = ..., enable_autoweighting: _Optional[bool] = ..., max_objective_weight: _Optional[float] = ..., min_objective_weight: _Optional[float] = ...) -> None: ...
