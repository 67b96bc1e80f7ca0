from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LabelFilter(_message.Message):
    __slots__ = ("bbox_dimensions_label_filter", "bbox_crop_label_filter", "source_class_label_filter")
    class BboxDimensionsLabelFilter(_message.Message):
        __slots__ = ("min_width", "min_height", "max_width", "max_height")
        MIN_WIDTH_FIELD_NUMBER: _ClassVar[int]
        MIN_HEIGHT_FIELD_NUMBER: _ClassVar[int]
        MAX_WIDTH_FIELD_NUMBER: _ClassVar[int]
        MAX_HEIGHT_FIELD_NUMBER: _ClassVar[int]
        min_width: float
        min_height: float
        max_width: float
        max_height: float
        def __init__(self, min_width: _Optional[float] = ..., min_height: _Optional[float] = ..., max_width: _Optional[float] = ..., max_height: _Optional[float] = ...) -> None: ...
    class BboxCropLabelFilter(_message.Message):
        __slots__ = ("crop_left", "crop_right", "crop_top", "crop_bottom")
        CROP_LEFT_FIELD_NUMBER: _ClassVar[int]
        CROP_RIGHT_FIELD_NUMBER: _ClassVar[int]
        CROP_TOP_FIELD_NUMBER: _ClassVar[int]
        CROP_BOTTOM_FIELD_NUMBER: _ClassVar[int]
        crop_left: float
        crop_right: float
        crop_top: float
        crop_bottom: float
        def __init__(self, crop_left: _Optional[float] = ..., crop_right: _Optional[float] = ..., crop_top: _Optional[float] = ..., crop_bottom: _Optional[float] = ...) -> None: ...
    class SourceClassLabelFilter(_message.Message):
        __slots__ = ("source_class_names",)
        SOURCE_CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
        source_class_names: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, source_class_names: _Optional[_Iterable[str]] = ...) -> None: ...
    BBOX_DIMENSIONS_LABEL_FILTER_FIELD_NUMBER: _ClassVar[int]
    BBOX_CROP_LABEL_FILTER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_CLASS_LABEL_FILTER_FIELD_NUMBER: _ClassVar[int]
    bbox_dimensions_label_filter: LabelFilter.BboxDimensionsLabelFilter
    bbox_crop_label_filter: LabelFilter.BboxCropLabelFilter
    source_class_label_filter: LabelFilter.SourceClassLabelFilter
    def __init__(self, bbox_dimensions_label_filter: _Optional[_Union[LabelFilter.BboxDimensionsLabelFilter, _Mapping]] = ..., bbox_crop_label_filter: _Optional[_Union[LabelFilter.BboxCropLabelFilter, _Mapping]] = ..., source_class_label_filter: _Optional[_Union[LabelFilter.SourceClassLabelFilter, _Mapping]] = ...) -> None: ...

class ObjectiveLabelFilter(_message.Message):
    __slots__ = ("objective_label_filter_configs", "mask_multiplier", "preserve_ground_truth")
    class ObjectiveLabelFilterConfig(_message.Message):
        __slots__ = ("label_filter", "target_class_names", "objective_names")
        LABEL_FILTER_FIELD_NUMBER: _ClassVar[int]
        TARGET_CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
        OBJECTIVE_NAMES_FIELD_NUMBER: _ClassVar[int]
        label_filter: LabelFilter
        target_class_names: _containers.RepeatedScalarFieldContainer[str]
        objective_names: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, label_filter: _Optional[_Union[LabelFilter, _Mapping]] = ..., target_class_names: _Optional[_Iterable[str]] = ..., objective_names: _Optional[_Iterable[str]] = ...) -> None: ...
    OBJECTIVE_LABEL_FILTER_CONFIGS_FIELD_NUMBER: _ClassVar[int]
    MASK_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    PRESERVE_GROUND_TRUTH_FIELD_NUMBER: _ClassVar[int]
    objective_label_filter_configs: _containers.RepeatedCompositeFieldContainer[ObjectiveLabelFilter.ObjectiveLabelFilterConfig]
    mask_multiplier: float
    preserve_ground_truth: bool
    def __init__(self, objective_label_filter_configs: _Optional[_Iterable[_Union[ObjectiveLabelFilter.ObjectiveLabelFilterConfig, _Mapping]]] = ..., mask_multiplier: _Optional[float] = ..., preserve_ground_truth: _Optional[bool] = ...) -> None: ...
