from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AugmentationConfig(_message.Message):
    __slots__ = ("preprocessing", "spatial_augmentation", "color_augmentation")
    class Preprocessing(_message.Message):
        __slots__ = ("output_image_width", "output_image_height", "crop_left", "crop_top", "crop_right", "crop_bottom", "min_bbox_width", "min_bbox_height", "scale_width", "scale_height", "output_image_channel", "output_image_min", "output_image_max", "enable_auto_resize")
        OUTPUT_IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
        CROP_LEFT_FIELD_NUMBER: _ClassVar[int]
        CROP_TOP_FIELD_NUMBER: _ClassVar[int]
        CROP_RIGHT_FIELD_NUMBER: _ClassVar[int]
        CROP_BOTTOM_FIELD_NUMBER: _ClassVar[int]
        MIN_BBOX_WIDTH_FIELD_NUMBER: _ClassVar[int]
        MIN_BBOX_HEIGHT_FIELD_NUMBER: _ClassVar[int]
        SCALE_WIDTH_FIELD_NUMBER: _ClassVar[int]
        SCALE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_IMAGE_CHANNEL_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_IMAGE_MIN_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_IMAGE_MAX_FIELD_NUMBER: _ClassVar[int]
        ENABLE_AUTO_RESIZE_FIELD_NUMBER: _ClassVar[int]
        output_image_width: int
        output_image_height: int
        crop_left: int
        crop_top: int
        crop_right: int
        crop_bottom: int
        min_bbox_width: float
        min_bbox_height: float
        scale_width: float
        scale_height: float
        output_image_channel: int
        output_image_min: int
        output_image_max: int
        enable_auto_resize: bool
        def __init__(self, output_image_width: _Optional[int] = ..., output_image_height: _Optional[int] = ..., crop_left: _Optional[int] = ..., crop_top: _Optional[int] = ..., crop_right: _Optional[int] = ..., crop_bottom: _Optional[int] = ..., min_bbox_width: _Optional[float] = ..., min_bbox_height: _Optional[float] = ..., scale_width: _Optional[float] = ..., scale_height: _Optional[float] = ..., output_image_channel: _Optional[int] = ..., output_image_min: _Optional[int] = ..., output_image_max: _Optional[int] = ..., enable_auto_resize: _Optional[bool] = ...) -> None: ...
    class SpatialAugmentation(_message.Message):
        __slots__ = ("hflip_probability", "vflip_probability", "zoom_min", "zoom_max", "translate_max_x", "translate_max_y", "rotate_rad_max", "rotate_probability")
        HFLIP_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
        VFLIP_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
        ZOOM_MIN_FIELD_NUMBER: _ClassVar[int]
        ZOOM_MAX_FIELD_NUMBER: _ClassVar[int]
        TRANSLATE_MAX_X_FIELD_NUMBER: _ClassVar[int]
        TRANSLATE_MAX_Y_FIELD_NUMBER: _ClassVar[int]
        ROTATE_RAD_MAX_FIELD_NUMBER: _ClassVar[int]
        ROTATE_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
        hflip_probability: float
        vflip_probability: float
        zoom_min: float
        zoom_max: float
        translate_max_x: float
        translate_max_y: float
        rotate_rad_max: float
        rotate_probability: float
        def __init__(self, hflip_probability: _Optional[float] = ..., vflip_probability: _Optional[float] = ..., zoom_min: _Optional[float] = ..., zoom_max: _Optional[float] = ..., translate_max_x: _Optional[float] = ..., translate_max_y: _Optional[float] = ..., rotate_rad_max: _Optional[float] = ..., rotate_probability: _Optional[float] = ...) -> None: ...
    class ColorAugmentation(_message.Message):
        __slots__ = ("color_shift_stddev", "hue_rotation_max", "saturation_shift_max", "contrast_scale_max", "contrast_center")
        COLOR_SHIFT_STDDEV_FIELD_NUMBER: _ClassVar[int]
        HUE_ROTATION_MAX_FIELD_NUMBER: _ClassVar[int]
        SATURATION_SHIFT_MAX_FIELD_NUMBER: _ClassVar[int]
        CONTRAST_SCALE_MAX_FIELD_NUMBER: _ClassVar[int]
        CONTRAST_CENTER_FIELD_NUMBER: _ClassVar[int]
        color_shift_stddev: float
        hue_rotation_max: float
        saturation_shift_max: float
        contrast_scale_max: float
        contrast_center: float
        def __init__(self, color_shift_stddev: _Optional[float] = ..., hue_rotation_max: _Optional[float] = ..., saturation_shift_max: _Optional[float] = ..., contrast_scale_max: _Optional[float] = ..., contrast_center: _Optional[float] = ...) -> None: ...
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    SPATIAL_AUGMENTATION_FIELD_NUMBER: _ClassVar[int]
    COLOR_AUGMENTATION_FIELD_NUMBER: _ClassVar[int]
    preprocessing: AugmentationConfig.Preprocessing
    spatial_augmentation: AugmentationConfig.SpatialAugmentation
    color_augmentation: AugmentationConfig.ColorAugmentation
    def __init__(self, preprocessing: _Optional[_Union[AugmentationConfig.Preprocessing, _Mapping]] = ..., spatial_augmentation: _Optional[_Union[AugmentationConfig.SpatialAugmentation, _Mapping]] = ..., color_augmentation: _Optional[_Union[AugmentationConfig.ColorAugmentation, _Mapping]] = ...) -> None: ...
