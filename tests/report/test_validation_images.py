from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qatkit.detectnet.clustering import ClusteringParams, Detections
from qatkit.evaluation.evaluate import EvaluationSettings
from qatkit.evaluation.matching import Criteria
from qatkit.report.validation_images import draw, shown_params
from qatkit.spec import VisualizerConfig

IMAGE = np.full((96, 128, 3), 0.5, np.float32)
NONE = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
CLASSES = ("person", "bag")


def detections(*boxes: list[float], confidence: float = 0.9) -> Detections:
    same = np.full(len(boxes), confidence, np.float32)
    return Detections(np.float32(boxes), same, same, np.ones(len(boxes), np.int64))


def changed(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.intp]:
    """(row, column) of the pixels of a colour."""
    return np.argwhere((picture == color).all(axis=-1))


def test_an_image_without_objects_is_only_enlarged() -> None:
    picture = draw(IMAGE, *NONE, {}, CLASSES)
    assert picture.shape == (480, 640, 3)
    assert (picture == 128).all()


@pytest.mark.parametrize("size, factor", [((96, 128), 5), ((544, 960), 1), ((368, 640), 1), ((200, 330), 1)])
def test_small_images_are_enlarged(size: tuple[int, int], factor: int) -> None:
    picture = draw(np.zeros((*size, 3), np.float32), *NONE, {}, CLASSES)
    assert picture.shape == (size[0] * factor, size[1] * factor, 3)


def test_grey_images_become_coloured_ones() -> None:
    assert draw(IMAGE[..., :1], *NONE, {}, CLASSES).shape == (480, 640, 3)


def test_labels_are_white_and_detections_have_the_colour_of_their_class() -> None:
    boxes, ids = np.float32([[10, 40, 30, 60], [0, 0, 0, 0]]), np.int32([1, -1])
    picture = draw(IMAGE, boxes, ids, {0: detections([60, 40, 90, 60]), 1: Detections.none()}, CLASSES)
    white, orange = changed(picture, (255, 255, 255)), changed(picture, (230, 159, 0))
    assert (white.max(axis=0) == (5 * 60 - 1, 5 * 30 - 1)).all()
    assert white[:, 1].min() == 50
    assert (orange.max(axis=0)[0], orange[:, 1].min()) == (5 * 60 - 1, 300)
    assert len(changed(picture, (86, 180, 233))) == 0


def test_the_most_confident_detection_lies_above() -> None:
    found = {0: detections([20, 40, 60, 80], confidence=0.9), 1: detections([20, 40, 60, 80], confidence=0.1)}
    picture = draw(IMAGE, *NONE, found, CLASSES)
    assert len(changed(picture, (230, 159, 0))) > 0 == len(changed(picture[210:], (86, 180, 233)))


def test_the_coverage_of_the_visualizer_counts_where_it_is_set() -> None:
    params = ClusteringParams(coverage_threshold=0.1), ClusteringParams(coverage_threshold=0.2)
    settings = EvaluationSettings(CLASSES, params, (Criteria(0.5),) * 2)
    config = VisualizerConfig()
    assert shown_params(config, settings) == params
    config.target_class_config["bag"].coverage_threshold = 0.6
    assert [one.coverage_threshold for one in shown_params(config, settings)] == [0.1, pytest.approx(0.6)]
