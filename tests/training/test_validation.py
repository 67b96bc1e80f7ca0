"""Validation during training, with a stand-in for the network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qatkit.dataset.batches import LeftOut
from qatkit.dataset.frames import load_frames
from qatkit.dataset.pixel_cache import NOT_KEPT
from qatkit.spec import Experiment, class_names
from qatkit.spec.defaults import resolve_experiment
from qatkit.training import validation
from qatkit.training.validation import Validator
from tests.support.datasets import write_frames
from tests.support.specs import EXPERIMENT, edited

CAR, VAN, TREE = (10.0, 10.0, 60.0, 60.0), (60.0, 20.0, 120.0, 90.0), (5.0, 5.0, 20.0, 12.0)
MASK = (
    "loss_mask_label_filter = {objective_label_filter_configs {label_filter {source_class_label_filter "
    '{source_class_names: "van" source_class_names: "tree"}}}}'
)


def nothing(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Outputs in which nothing is found."""
    return np.zeros((len(images), 1, 3, 4), np.float32), np.zeros((len(images), 4, 3, 4), np.float32)


def test_the_cost_gets_label_ids_and_the_evaluation_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A van is a car that a mask tells apart, a tree is there for the mask alone: neither changes what is counted."""
    for fold in range(2):
        write_frames(tmp_path, fold, {str(fold): [("car", CAR), ("van", VAN), ("tree", TREE)]})
    spec = edited(
        Experiment,
        EXPERIMENT.replace('"records/*"', f'"{tmp_path}/records/*"').replace('"images"', f'"{tmp_path}/images"'),
        'dataset_config.target_class_mapping = {key: "van" value: "car"}',
        "augmentation_config.preprocessing.enable_auto_resize = true",
        MASK,
    )
    resolve_experiment(spec)
    asked: list[list[int]] = []
    evaluated: list[list[int]] = []

    def cost(batch: Any, cov: Any, bbox: Any) -> float:
        asked.append(batch["class_ids"][0].tolist())
        return 0.25

    def evaluate(predict: Any, batches: Any, settings: Any) -> Any:
        for batch in batches:
            evaluated.append(batch["class_ids"][0].tolist())
            predict(batch["image"])
        return SimpleNamespace(map=50.0, ap={"car": 50.0})

    monkeypatch.setattr(validation, "predictor", lambda model: nothing)
    monkeypatch.setattr(validation, "evaluate", evaluate)
    frames = load_frames(spec.dataset_config, class_names(spec), "validation", ("van", "tree"))
    stepper = SimpleNamespace(network=SimpleNamespace(model=None), cost=cost)
    result = Validator(spec, stepper, frames, LeftOut(1, 0.0), NOT_KEPT)()  # type: ignore[arg-type]
    assert (result.map, result.cost) == (50.0, 0.25)
    assert asked == [[0, 1, 2]]
    assert evaluated == [[0, 0, -1]]
