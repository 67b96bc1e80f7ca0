"""What a spec tells of a model whose file does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.errors import UsageError
from qatkit.model.file import save_model
from qatkit.model.open import open_model
from qatkit.spec import Experiment
from tests.support.keras_files import tiny_description, tiny_weights, write_keras_file


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model of TAO with two classes."""
    return write_keras_file(tmp_path / "tao.hdf5", tiny_weights(), tiny_description())


def labels(*classes: str) -> Labels:
    experiment = Experiment()
    for name in classes:
        experiment.cost_function_config.target_classes.add(name=name)
    experiment.model_config.objective_set.bbox.scale = 20.0
    experiment.model_config.objective_set.bbox.offset = 0.25
    return Labels.from_spec(experiment)


def test_without_a_spec_the_customary_encoding_is_assumed(source: Path) -> None:
    model = open_model(source)
    assert model.labels == Labels(("class_0", "class_1"), 35.0, 0.5)


@pytest.mark.parametrize("kind", ["hdf5", "tlt"])
def test_the_spec_names_classes_and_box_encoding(source: Path, tmp_path: Path, kind: str) -> None:
    path = source
    if kind == "tlt":  # as pruning makes one
        path = tmp_path / "pruned.tlt"
        save_model(path, open_model(source), "key")
    model = open_model(path, "key", labels("person", "bag"))
    assert model.labels == Labels(("person", "bag"), 20.0, 0.25)


def test_what_the_file_says_counts_more(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "named.tlt"
    save_model(path, replace(open_model(source), labels=Labels(("car", "bus"), 30.0)))
    model = open_model(path, "", labels("person", "bag"))
    assert model.labels == Labels(("car", "bus"), 30.0, 0.5)


def test_another_number_of_classes(source: Path) -> None:
    with pytest.raises(UsageError, match=r"has 2 classes, the spec 1 \(person\)"):
        open_model(source, "", labels("person"))
