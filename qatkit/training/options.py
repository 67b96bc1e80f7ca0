"""What a training can be told beside its spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qatkit.choices import (
    CALIBRATOR,
    EMA_DECAY,
    FROZEN_FROM,
    IMAGE_CACHE,
    KEEP,
    PLACEMENT,
    TEACHER_WEIGHT,
    UNREADABLE,
    CalibratorName,
    ImageCache,
    Placement,
    WantedPrecision,
)


@dataclass(frozen=True)
class TrainOptions:
    """The flags of `qatkit train`.

    precision: None is what the spec says (training_precision), "auto" what is quicker on this machine.
    calibrator, ema_decay, frozen_from, placement and skip_layers matter for quantization-aware training only: what
    the ranges start from, how fast they follow the largest values of the batches, and the fraction of the training
    after which ranges and batch-norm statistics are frozen.
    teacher: a model whose outputs are learned beside the labels, with the share teacher_weight (0..1) of the cost.
    restart: forget the checkpoints in `results`. extend: go on from them also where num_epochs was another.
    keep: how many checkpoints stay; the model of the best validation does so beside them.
    unreadable: the share (0..1) of the images, to train and to validate on, that may be left out for being damaged.
    cache: where decoded images are kept.
    verbose: tell what was decided too: the effective spec, the data, the quantization plan.
    """

    results: Path
    key: str = ""
    name: str = "model"
    gpus: int = 1
    precision: WantedPrecision | None = None
    deterministic: bool = False
    restart: bool = False
    extend: bool = False
    keep: int = KEEP
    calibrator: CalibratorName = CALIBRATOR
    ema_decay: float = EMA_DECAY
    frozen_from: float = FROZEN_FROM
    placement: Placement = PLACEMENT
    skip_layers: tuple[str, ...] = ()
    teacher: Path | None = None
    teacher_weight: float = TEACHER_WEIGHT
    unreadable: float = UNREADABLE
    cache: ImageCache = IMAGE_CACHE
    verbose: bool = False
