"""What a user chooses from, each choice with its names once: options of the command line and fields of dataclasses.

Nothing is imported here, so that `--help` knows the names without waiting for what they stand for.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

CalibratorName: TypeAlias = Literal["entropy", "minmax", "percentile", "mse"]
CacheScope: TypeAlias = Literal["all", "qat"]
Criterion: TypeAlias = Literal["union", "intersection", "arithmetic_mean", "geometric_mean"]
DataType: TypeAlias = Literal["fp32", "fp16", "int8"]
Exif: TypeAlias = Literal["ignore", "apply"]
ImageCache: TypeAlias = Literal["auto", "ram", "disk", "none"]
Normalizer: TypeAlias = Literal["max", "L2"]
Placement: TypeAlias = Literal["tensorrt", "tao"]
TensorNames: TypeAlias = Literal["onnx", "uff"]
WantedPrecision: TypeAlias = Literal["auto", "float32", "mixed"]

# How the ranges of INT8 are found: the calibrator, and how many images it sees (the batch size is TAO's).
CALIBRATOR: CalibratorName = "entropy"
CALIBRATION_BATCHES = 10
CALIBRATION_BATCH_SIZE = 16
PLACEMENT: Placement = "tensorrt"
# Of quantization-aware training: decay of the moving average of the ranges, and the fraction of the training after
# which ranges and batch-norm statistics are frozen.
EMA_DECAY = 0.999
FROZEN_FROM = 0.7
# The share of a teacher in the cost.
TEACHER_WEIGHT = 0.5
# How many checkpoints a training keeps.
KEEP = 2
# What becomes of pictures that are stored otherwise than they are shown; TAO knows nothing of EXIF.
EXIF: Exif = "ignore"
# The largest picture that is read: decoded, it takes 450 MB.
MAX_MEGAPIXELS = 150
# Where a training keeps its decoded images: auto by what they take and what is free.
IMAGE_CACHE: ImageCache = "auto"
# The share of the images of a training that may be left out because they cannot be read.
UNREADABLE = 0.01
