"""Evaluation as a whole: by hand with an invented network, and against the reference vectors (1e-6)."""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from qatkit.detectnet.clustering import Algorithm, ClusteringParams, Detections
from qatkit.errors import SpecError
from qatkit.evaluation.average_precision import ApMode, precision_recall
from qatkit.evaluation.evaluate import (
    Array,
    ClassResult,
    EvaluationSettings,
    Evaluator,
    OperatingPoint,
    Result,
    best_point,
    evaluate,
)
from qatkit.evaluation.matching import Criteria, FrameBoxes, match
from qatkit.spec import Experiment
from tests.support import golden_data

TOPIC = "07_evaluation"
NMS = ClusteringParams(Algorithm.NMS, coverage_threshold=0.1)


def settings_for(*classes: str, **change: Any) -> EvaluationSettings:
    count = len(classes)
    return EvaluationSettings(classes, (NMS,) * count, (Criteria(0.5),) * count, **change)


def found(*items: tuple[tuple[float, ...], float]) -> Detections:
    boxes = np.array([box for box, _ in items], np.float32).reshape(-1, 4)
    confidences = np.array([confidence for _, confidence in items], np.float32)
    return Detections.of(boxes, confidences, confidences, np.ones(len(items), np.int64))


BOX, AWAY = (0.0, 0.0, 50.0, 50.0), (100.0, 100.0, 150.0, 150.0)


def test_no_frames() -> None:
    result = Evaluator(settings_for("car")).result()
    assert result == Result(0.0, (ClassResult("car", None, 0, 0),), 0)


def test_result_by_hand() -> None:
    evaluator = Evaluator(settings_for("car", "person", mode=ApMode.INTEGRATE))
    boxes, class_ids = np.array([BOX, AWAY, (0, 0, 0, 0)], np.float32), np.array([0, 0, -1])
    evaluator.add(boxes, class_ids, {0: found((BOX, 0.75), (AWAY, 1.5)), 1: found((BOX, 0.5))})
    evaluator.add(boxes[:0], class_ids[:0], {0: found((BOX, 0.5))})
    result = evaluator.result(seconds_per_image=0.25)
    car, person = result.classes
    assert car == ClassResult("car", 100.0, 2, 3, OperatingPoint(0.75, 1.0, 1.0, 1.0))
    assert person == ClassResult("person", None, 0, 1)
    assert (result.map, result.ap, result.frames, result.fps) == (100.0, {"car": 100.0, "person": None}, 2, 4.0)


def test_class_without_objects_counts_in_taos_mean() -> None:
    evaluator = Evaluator(settings_for("car", "person", tao_formulas=True))
    evaluator.add(np.array([BOX], np.float32), np.array([0]), {0: found((BOX, 0.75))})
    assert evaluator.result().map == 50.0


def test_boxes_of_other_sizes_vanish() -> None:
    small = (0.0, 0.0, 10.0, 10.0)
    settings = EvaluationSettings(("car",), (NMS,), (Criteria(0.5, min_height=20),))
    evaluator = Evaluator(settings)
    detections = found((BOX, 0.9), (small, 0.8))
    evaluator.add(np.array([BOX, small], np.float32), np.array([0, 0]), {0: detections})
    (car,) = evaluator.result().classes
    assert (car.ap, car.ground_truths, car.detections) == (100.0, 1, 1)


@pytest.mark.parametrize(
    "right, confidences, expected",
    [
        pytest.param([], [], None, id="nothing found"),
        pytest.param([False], [0.5], None, id="nothing right"),
        pytest.param([True, False, True], [0.9, 0.8, 0.7], (0.7, 2 / 3, 0.5, 4 / 7), id="last right one"),
        pytest.param([True, False], [0.9, 0.9], (0.9, 0.5, 0.25, 1 / 3), id="a threshold takes all its equals"),
    ],
)
def test_best_point(
    right: list[bool], confidences: list[float], expected: tuple[float, float, float, float] | None
) -> None:
    point = best_point(np.array(right, bool), 4, np.array(confidences, np.float32))
    assert (point and astuple(point)) == (expected and pytest.approx(expected))


def test_json_is_json() -> None:
    point = OperatingPoint(0.5, 1.0, 0.25, 0.4)
    result = Result(12.5, (ClassResult("car", 12.5, 4, 1, point), ClassResult("person", None, 0, 0)), 3, 0.5)
    decoded = json.loads(json.dumps(result.to_json()))
    assert (decoded["map"], decoded["frames"], decoded["fps"]) == (12.5, 3, 2.0)
    assert decoded["classes"][0]["best"] == {"threshold": 0.5, "precision": 1.0, "recall": 0.25, "f1": 0.4}
    assert decoded["classes"][1] == {"name": "person", "ap": None, "ground_truths": 0, "detections": 0, "best": None}


def sees_what_is_painted(images: Array) -> tuple[Array, Array]:
    """A network with one cell per 16 pixels: the red of a cell's corner is coverage; every box is the whole cell."""
    cov = images[:, ::16, ::16, 0][:, None]
    bbox = np.full((len(images), 4, *cov.shape[2:]), -0.5 / 35, np.float32)
    bbox[:, 2:] = 15.5 / 35
    return cov, bbox


def batch(frames: int) -> dict[str, Any]:
    images = np.zeros((frames, 32, 64, 3), np.float32)
    images[:, 16, 32, 0] = 0.75
    boxes = np.tile(np.array([(32, 16, 48, 32), (0, 0, 0, 0)], np.float32), (frames, 1, 1))
    class_ids = np.tile(np.array([0, -1], np.int32), (frames, 1))
    return {"image": images, "boxes": boxes, "class_ids": class_ids}


def test_evaluate() -> None:
    result = evaluate(sees_what_is_painted, [batch(2), batch(1)], settings_for("car"))
    assert result.frames == 3
    assert result.classes == (ClassResult("car", 100.0, 3, 3, OperatingPoint(0.75, 1.0, 1.0, 1.0)),)
    assert result.seconds_per_image is not None and 0 < result.seconds_per_image < 1


def test_detections_are_shown_frame_by_frame() -> None:
    shown: list[Any] = []
    evaluate(sees_what_is_painted, [batch(2), batch(1)], settings_for("car"), shown.append)
    assert [list(frame) for frame in shown] == [[0]] * 3
    assert [frame[0].confidences.tolist() for frame in shown] == [[0.75]] * 3


def test_evaluate_nothing() -> None:
    assert evaluate(sees_what_is_painted, [], settings_for("car")).seconds_per_image is None


def experiment() -> Experiment:
    message = Experiment()
    message.model_config.objective_set.bbox.scale = 30
    message.model_config.objective_set.bbox.offset = 0.25
    message.evaluation_config.average_precision_mode = "INTEGRATE"
    for name, overlap in (("car", 0.75), ("person", 0.5)):
        message.cost_function_config.target_classes.add(name=name)
        message.postprocessing_config.target_class_config[name].clustering_config.dbscan_eps = overlap
        message.evaluation_config.minimum_detection_ground_truth_overlap[name] = overlap
        message.evaluation_config.evaluation_box_config[name].maximum_width = 9999
    return message


def test_settings_from_spec() -> None:
    settings = EvaluationSettings.from_spec(experiment())
    assert settings.classes == ("car", "person")
    assert [criteria.min_overlap for criteria in settings.criteria] == [0.75, 0.5]
    assert [params.dbscan_eps for params in settings.clustering] == [0.75, 0.5]
    assert (settings.mode, settings.scale, settings.offset) == (ApMode.INTEGRATE, 30, 0.25)
    assert not settings.tao_formulas


def test_settings_with_taos_numbers() -> None:
    settings = EvaluationSettings.from_spec(experiment(), compat="tao-evaluate")
    assert settings.tao_formulas
    assert {params.compat for params in settings.clustering} == {"tao-evaluate"}


def test_settings_name_the_missing_class() -> None:
    message = experiment()
    del message.evaluation_config.evaluation_box_config["person"]
    with pytest.raises(SpecError, match="evaluation_box_config has no entry for class 'person'"):
        EvaluationSettings.from_spec(message)


def golden_result(case: dict[str, Any], mode: ApMode, *, tao_formulas: bool) -> Result:
    names = case["target_class_names"]
    criteria = []
    for name in names:
        size = case["evaluation_box_config"][name]
        overlap = case["minimum_detection_ground_truth_overlap"][name]
        keys = ("minimum_width", "maximum_width", "minimum_height", "maximum_height")
        criteria.append(Criteria(overlap, *(size[key] for key in keys)))
    settings = EvaluationSettings(tuple(names), (NMS,) * len(names), tuple(criteria), mode, tao_formulas=tao_formulas)
    evaluator = Evaluator(settings)
    truth_frames, truth_boxes = (golden_data.array(TOPIC, case, name) for name in ("gt_frame", "gt_bbox"))
    class_ids = np.array([names.index(name) if name in names else -1 for name in case["gt_class"]], np.int32)
    for frame in range(case["num_frames"]):
        here = truth_frames == frame
        detections = {index: golden_found(case, name, frame) for index, name in enumerate(names)}
        evaluator.add(truth_boxes[here].reshape(-1, 4), class_ids[here], detections)
    return evaluator.result()


def golden_found(case: dict[str, Any], name: str, frame: int) -> Detections:
    here = golden_data.array(TOPIC, case, f"det_{name}_frame") == frame
    boxes, confidences = (
        golden_data.array(TOPIC, case, f"det_{name}_{part}")[here] for part in ("bbox", "confidence")
    )
    return Detections.of(boxes.reshape(-1, 4), confidences, confidences, np.ones(len(boxes), np.int64))


@golden_data.parametrize(TOPIC, "case", compat=True)
@pytest.mark.parametrize("mode", ApMode)
def test_golden_with_taos_formulas(case: dict[str, Any], mode: ApMode) -> None:
    result = golden_result(case, mode, tao_formulas=True)
    expected = case["result"][mode.name]
    assert result.map == pytest.approx(100 * expected["mAP"], abs=1e-4)
    for name, ap in expected["average_precisions"].items():
        assert result.ap[name] == pytest.approx(100 * ap, abs=1e-4)
    assert {one.name: one.ground_truths for one in result.classes} == case["num_gt_per_class"]


@golden_data.parametrize(TOPIC, "case")
def test_golden_sampled_ap(case: dict[str, Any]) -> None:
    """Without TAO's formulas only the classes without objects differ."""
    result = golden_result(case, ApMode.SAMPLE, tao_formulas=False)
    expected = case["result"]["SAMPLE"]["average_precisions"]
    for name, count in case["num_gt_per_class"].items():
        assert result.ap[name] == (pytest.approx(100 * expected[name], abs=1e-4) if count else None)


@golden_data.parametrize(TOPIC, "case")
def test_golden_curves(case: dict[str, Any]) -> None:
    names = case["target_class_names"]
    for name in names:
        size = case["evaluation_box_config"][name]
        keys = ("minimum_width", "maximum_width", "minimum_height", "maximum_height")
        criteria = Criteria(0.5, *(size[key] for key in keys))
        of_class = np.array([given == name for given in case["gt_class"]], bool)
        truths = FrameBoxes(*(golden_data.array(TOPIC, case, part)[of_class] for part in ("gt_frame", "gt_bbox")))
        truths = truths.select(criteria.admits(truths.boxes.reshape(-1, 4)))
        frames, boxes, confidences = (
            golden_data.array(TOPIC, case, f"det_{name}_{part}") for part in ("frame", "bbox", "confidence")
        )
        order = np.argsort(-confidences, kind="stable")
        detections = FrameBoxes(frames[order], boxes[order])
        detections = detections.select(criteria.admits(detections.boxes))
        right = match(truths, detections, case["minimum_detection_ground_truth_overlap"][name])
        np.testing.assert_array_equal(right, golden_data.array(TOPIC, case, f"tp_{name}"))
        np.testing.assert_array_equal(~right, golden_data.array(TOPIC, case, f"fp_{name}"))
        if len(truths.frames):
            curve = precision_recall(right, len(truths.frames))
            np.testing.assert_allclose(curve.precision, golden_data.array(TOPIC, case, f"precision_{name}"))
            np.testing.assert_allclose(curve.recall, golden_data.array(TOPIC, case, f"recall_{name}"))
