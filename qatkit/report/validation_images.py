"""A few validation images with their labels and with what the network finds in them now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qatkit.dataset.batches import Batch, EvaluationBatches, LeftOut
from qatkit.dataset.frames import FrameTable
from qatkit.detectnet.clustering import ClusteringParams, Detections
from qatkit.detectnet.postprocess import detect
from qatkit.evaluation.evaluate import EvaluationSettings
from qatkit.report.drawing import Color, DrawnBox, draw_boxes
from qatkit.spec import Experiment, VisualizerConfig

Array = NDArray[np.float32]
Predict = Callable[[Array], tuple[Array, Array]]

LABEL: Color = (255, 255, 255)
_WIDTH = 640  # pixels
# Of the classes, in their order; after Okabe and Ito, who chose them for eyes of all kinds.
_CLASSES: tuple[Color, ...] = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0))


class ValidationImages:
    """Call it for the images uint8 [n, H, W, 3] with labels (white) and detections (a colour per class).

    They are the same each time, evenly spread over the validation data; those that cannot be read are left out.
    """

    def __init__(self, spec: Experiment, frames: FrameTable, predict: Predict) -> None:
        """frames: of validation. predict: images NHWC in 0..1 -> cov and bbox NCHW, of the network as it is then."""
        config = spec.training_config.visualizer
        settings = EvaluationSettings.from_spec(spec)
        self._settings = replace(settings, clustering=shown_params(config, settings))
        chosen = frames.sample(config.num_images)
        left_out = LeftOut(len(chosen), 1.0)
        preprocessing = spec.augmentation_config.preprocessing
        self._batches = EvaluationBatches(
            chosen, preprocessing, spec.training_config.batch_size_per_gpu, left_out=left_out
        )
        self._predict = predict

    def __call__(self) -> NDArray[np.uint8]:
        return np.concatenate([self._drawn(batch) for batch in self._batches])

    def _drawn(self, batch: Batch) -> NDArray[np.uint8]:
        images = batch["image"]
        cov, bbox = self._predict(images)
        found = detect(cov, bbox, self._settings.grid(images, cov), self._settings.clustering)
        rows = zip(images, batch["boxes"], batch["class_ids"], found)
        return np.stack([draw(*row, self._settings.classes) for row in rows])


def shown_params(config: VisualizerConfig, settings: EvaluationSettings) -> tuple[ClusteringParams, ...]:
    """How outputs become the boxes that are shown: as in the evaluation, from cells with the visualizer's coverage.

    The threshold of a class that `target_class_config` leaves out is that of the evaluation.
    """
    shown = config.target_class_config
    return tuple(
        replace(params, coverage_threshold=shown[name].coverage_threshold) if name in shown else params
        for name, params in zip(settings.classes, settings.clustering)
    )


def draw(
    image: Array, boxes: Array, class_ids: NDArray[np.int32], found: Mapping[int, Detections], classes: Sequence[str]
) -> NDArray[np.uint8]:
    """An image [H, W, 1 or 3] in 0..1 with its objects (class id -1 = none) and the detections by class index.

    Small images are enlarged by a whole number, so that their text can be read.
    """
    pixels = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
    factor = max(_WIDTH // image.shape[1], 1)
    large = (pixels * 255).round().astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
    picture = Image.fromarray(large)
    objects = [(box, index) for box, index in zip(boxes, class_ids.tolist()) if index >= 0]
    truths = [_box(box * factor, LABEL, classes[index]) for box, index in objects]
    detected = [
        (confidence, _box(box * factor, _CLASSES[index % len(_CLASSES)], f"{classes[index]} {confidence:.2f}"))
        for index, one in found.items()
        for box, confidence in zip(one.boxes, one.confidences.tolist())
    ]
    # What is most certain lies above the rest.
    draw_boxes(picture, [*truths, *(box for _, box in sorted(detected, key=lambda item: item[0]))])
    return np.asarray(picture)


def _box(box: Array, color: Color, text: str) -> DrawnBox:
    x1, y1, x2, y2 = box.tolist()
    return DrawnBox((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), color, text)
