"""Outputs of a whole batch -> detections, and the parameters that specs give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qatkit.detectnet.clustering import Algorithm, ClusteringParams
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.postprocess import detect, evaluation_params, inference_params
from qatkit.errors import SpecError
from qatkit.spec import Experiment, Inference

GRID = Grid(input_width=64, input_height=32, grid_width=4, grid_height=2, scale=10, offset=0.5)
PARAMS = ClusteringParams(Algorithm.NMS, coverage_threshold=0.1)


def test_no_frames() -> None:
    outputs = np.empty((0, 2, 2, 4), np.float32), np.empty((0, 8, 2, 4), np.float32)
    assert detect(*outputs, GRID, [PARAMS] * 2) == []


def test_each_frame_and_class_gets_its_own() -> None:
    cov, bbox = np.zeros((2, 2, 2, 4), np.float32), np.zeros((2, 8, 2, 4), np.float32)
    cov[1, 1, 1, 2] = 0.75  # second frame, second class, cell with reference (32.5, 16.5)
    bbox[1, 4:, 1, 2] = (1, 0.5, 2, 1)
    empty, found = detect(cov, bbox, GRID, [PARAMS] * 2)
    assert [len(empty[0]), len(empty[1]), len(found[0]), len(found[1])] == [0, 0, 0, 1]
    np.testing.assert_allclose(found[1].boxes, [(22.5, 11.5, 52.5, 26.5)])
    np.testing.assert_allclose(found[1].confidences, [0.75])


def test_classes_have_their_own_parameters() -> None:
    cov, bbox = np.full((1, 2, 2, 4), 0.5, np.float32), np.zeros((1, 8, 2, 4), np.float32)
    strict = ClusteringParams(Algorithm.NMS, coverage_threshold=0.5)
    (found,) = detect(cov, bbox, GRID, [PARAMS, strict])
    assert (len(found[0]), len(found[1])) == (8, 0)


def experiment(**clustering: Any) -> Experiment:
    message = Experiment()
    for name in ("car", "person"):
        message.cost_function_config.target_classes.add(name=name)
        config = message.postprocessing_config.target_class_config[name].clustering_config
        config.dbscan_eps = 0.5 if name == "car" else 0.25
        for field, value in clustering.items():
            setattr(config, field, value)
    return message


def test_evaluation_params_follow_the_network() -> None:
    assert [params.dbscan_eps for params in evaluation_params(experiment())] == [0.5, 0.25]


def test_evaluation_params_swap_thresholds_for_tao_only() -> None:
    message = experiment(dbscan_confidence_threshold=0.75)
    assert [params.dbscan_confidence_threshold for params in evaluation_params(message)] == [0.75, 0.75]
    swapped = evaluation_params(message, compat="tao-evaluate")
    assert [params.dbscan_confidence_threshold for params in swapped] == [0, 0]


def test_evaluation_params_name_the_missing_class() -> None:
    message = experiment()
    del message.postprocessing_config.target_class_config["person"]
    with pytest.raises(SpecError, match=r"postprocessing_config .* 'person'"):
        evaluation_params(message)


def inference(*names: str) -> Inference:
    message = Inference()
    for number, name in enumerate(names, start=1):
        handler = message.bbox_handler_config.classwise_bbox_handler_config[name]
        handler.clustering_config.dbscan_eps = number / 8
        handler.confidence_model = "mean_cov" if name == "default" else "aggregate_cov"
    return message


def test_inference_params_fall_back_to_the_default() -> None:
    params = inference_params(inference("car", "default"), ["person", "car"])
    assert [one.dbscan_eps for one in params] == [0.25, 0.125]
    assert [one.confidence_model for one in params] == ["mean_cov", "aggregate_cov"]
    with pytest.raises(SpecError, match="no entry for class 'person'"):
        inference_params(inference("car"), ["car", "person"])
