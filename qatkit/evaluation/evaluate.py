"""How well a network detects: batches of labelled images -> mean average precision and what belongs to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.dataset.batches import Batch
from qatkit.detectnet.clustering import ClusteringParams, Compat, Detections
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.labels import DEFAULT_BOX_OFFSET, DEFAULT_BOX_SCALE
from qatkit.detectnet.postprocess import detect, evaluation_params
from qatkit.evaluation.average_precision import ApMode, average_precision, precision_recall
from qatkit.evaluation.matching import Criteria, FrameBoxes, match
from qatkit.spec import Experiment, class_names

Array = NDArray[np.float32]
Predict = Callable[[Array], tuple[Array, Array]]
Observe = Callable[[Mapping[int, Detections]], None]


@dataclass(frozen=True)
class EvaluationSettings:
    """How outputs become detections, and what counts as right; one entry per class, in the network's order.

    scale, offset: the encoding of the bbox output, as in `Grid`.
    tao_formulas: average precision with TAO's formulas, and 0 for a class without objects, instead of leaving it out.
    """

    classes: tuple[str, ...]
    clustering: tuple[ClusteringParams, ...]
    criteria: tuple[Criteria, ...]
    mode: ApMode = ApMode.SAMPLE
    scale: float = DEFAULT_BOX_SCALE
    offset: float = DEFAULT_BOX_OFFSET
    tao_formulas: bool = False

    @classmethod
    def from_spec(cls, experiment: Experiment, *, compat: Compat = "none") -> EvaluationSettings:
        """The settings of a training spec; compat "tao-evaluate" gives TAO's numbers, its defects included.

        Raises SpecError for a class that postprocessing_config or evaluation_config leaves out.
        """
        config = experiment.evaluation_config
        bbox = experiment.model_config.objective_set.bbox
        names = tuple(class_names(experiment))
        return cls(
            classes=names,
            clustering=evaluation_params(experiment, compat=compat),
            criteria=tuple(Criteria.from_spec(config, name) for name in names),
            mode=ApMode(config.average_precision_mode),
            scale=bbox.scale,
            offset=bbox.offset,
            tao_formulas=compat != "none",
        )

    def grid(self, images: Array, cov: Array) -> Grid:
        """The grid of outputs cov [B, C, h, w] for images [B, H, W, channels]."""
        return Grid(images.shape[2], images.shape[1], cov.shape[3], cov.shape[2], self.scale, self.offset)


@dataclass(frozen=True)
class OperatingPoint:
    """Precision, recall and F1 (0..1) of a class's detections with at least the confidence `threshold`."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassResult:
    """How well one class is detected.

    ap: percent; None for a class without objects.
    ground_truths, detections: how many took part (those of the right size).
    best: where F1 is best, a threshold to start from in a DeepStream configuration; None where nothing is right.
    """

    name: str
    ap: float | None
    ground_truths: int
    detections: int
    best: OperatingPoint | None = None


@dataclass(frozen=True)
class Result:
    """How well a network detects.

    map: percent, over the classes that have an AP; 0 where none has.
    seconds_per_image: median over the batches of the network alone; None where it was not measured.
    """

    map: float
    classes: tuple[ClassResult, ...]
    frames: int
    seconds_per_image: float | None = None

    @property
    def ap(self) -> dict[str, float | None]:
        """AP by class name, percent; None for a class without objects."""
        return {result.name: result.ap for result in self.classes}

    @property
    def fps(self) -> float | None:
        """Images per second; None where it was not measured."""
        return 1 / self.seconds_per_image if self.seconds_per_image else None

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {**asdict(self), "fps": self.fps}


class Evaluator:
    """Collects labelled objects and detections frame by frame, then computes the result."""

    def __init__(self, settings: EvaluationSettings) -> None:
        self._settings = settings
        # Boxes and confidences of each class, one entry per frame.
        self._truths: list[list[Array]] = [[] for _ in settings.classes]
        self._found: list[list[Array]] = [[] for _ in settings.classes]
        self._confidences: list[list[Array]] = [[] for _ in settings.classes]
        self._frames = 0

    def add(self, boxes: Array, class_ids: NDArray[np.int32], detections: Mapping[int, Detections]) -> None:
        """Add a frame: its objects, boxes [n, 4] and class_ids [n] (-1 = none), and its detections by class index."""
        for index in range(len(self._settings.classes)):
            found = detections.get(index) or Detections.none()
            self._truths[index].append(boxes[class_ids == index])
            self._found[index].append(found.boxes)
            self._confidences[index].append(found.confidences)
        self._frames += 1

    def result(self, seconds_per_image: float | None = None) -> Result:
        """The result over all frames added so far."""
        classes = tuple(self._class_result(index) for index in range(len(self._settings.classes)))
        measured = [result.ap for result in classes if result.ap is not None]
        return Result(float(np.mean(measured)) if measured else 0.0, classes, self._frames, seconds_per_image)

    def _class_result(self, index: int) -> ClassResult:
        settings, criteria = self._settings, self._settings.criteria[index]
        truths, found = FrameBoxes.of(self._truths[index]), FrameBoxes.of(self._found[index])
        truths = truths.select(criteria.admits(truths.boxes))
        confidences = np.concatenate([np.empty(0, np.float32), *self._confidences[index]])
        order = np.argsort(-confidences, kind="stable")
        order = order[criteria.admits(found.boxes[order])]
        found, confidences = found.select(order), confidences[order]
        right = match(truths, found, criteria.min_overlap)
        count = len(truths.frames)
        ap = average_precision(right, count, settings.mode, tao_formulas=settings.tao_formulas)
        percent = None if ap is None else 100 * ap
        return ClassResult(settings.classes[index], percent, count, len(right), best_point(right, count, confidences))


def best_point(right: NDArray[np.bool_], truths: int, confidences: Array) -> OperatingPoint | None:
    """Where F1 is best for detections [n] that should find `truths` objects, the most confident first."""
    if not truths or not right.any():
        return None
    curve = precision_recall(right, truths)
    f1 = 2 * curve.precision * curve.recall / np.maximum(curve.precision + curve.recall, np.finfo(float).tiny)
    # A threshold takes all detections of equal confidence, so only the last of them is a point one can choose.
    last = np.append(confidences[1:] != confidences[:-1], True)
    at = int(np.argmax(np.where(last, f1, -1.0)))
    return OperatingPoint(float(confidences[at]), float(curve.precision[at]), float(curve.recall[at]), float(f1[at]))


def evaluate(
    predict: Predict,
    batches: Iterable[Batch],
    settings: EvaluationSettings,
    observe: Observe | None = None,
) -> Result:
    """Run `predict` (images NHWC in 0..1 -> cov and bbox NCHW) over labelled batches.

    observe: is shown the detections of each frame by class index, in order.
    """
    evaluator = Evaluator(settings)
    seconds = []
    for batch in batches:
        images = batch["image"]
        began = time.perf_counter()
        cov, bbox = predict(images)
        seconds.append((time.perf_counter() - began) / len(images))
        frames = detect(cov, bbox, settings.grid(images, cov), settings.clustering)
        for boxes, class_ids, detections in zip(batch["boxes"], batch["class_ids"], frames, strict=True):
            evaluator.add(boxes, class_ids, detections)
            if observe is not None:
                observe(detections)
    # The first batch pays for what engines prepare on first use.
    return evaluator.result(float(np.median(seconds[1:] or seconds)) if seconds else None)
