"""Models and backbones to start from, out of every kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qatkit.detectnet.labels import Labels
from qatkit.errors import ModelError
from qatkit.graph.graph import Graph
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from qatkit.model.pretrained import load_backbone
from tests.support import golden_data
from tests.support.keras_files import layer_weights, tiny_description, tiny_weights, write_keras_file
from tests.support.networks import tiny_network

WEIGHTS = sorted((golden_data.ROOT / "12_hdf5").glob("*.weights.h5"))
HEADS = ("output_bbox/kernel", "output_bbox/bias", "output_cov/kernel", "output_cov/bias")


def as_tlt(path: Path, graph: Graph, key: str = "") -> Path:
    save_model(path, Model(graph, Labels(tuple(f"c{index}" for index in range(graph.shape("output_cov")[2])))), key)
    return path


def as_h5(path: Path, graph: Graph) -> Path:
    return write_keras_file(path, layer_weights(graph))


def test_models_are_told_apart_by_content(tmp_path: Path) -> None:
    tlt = as_tlt(tmp_path / "named.hdf5", tiny_network(), "key")
    assert open_model(tlt, "key").labels.classes == ("c0", "c1")
    hdf5 = write_keras_file(tmp_path / "named.tlt", tiny_weights(), tiny_description())
    assert open_model(hdf5, "key", Labels(("person", "bag"))).labels.classes == ("person", "bag")
    with pytest.raises(ModelError, match="there is no such model file"):
        open_model(tmp_path / "nothing.hdf5")


@pytest.mark.parametrize("kind", ["tlt", "h5"])
def test_every_layer_but_the_heads_is_loaded(tmp_path: Path, kind: str) -> None:
    source, fresh = tiny_network(seed=1), tiny_network(classes=3, seed=2)
    path = tmp_path / f"source.{kind}"
    _ = as_tlt(path, source, "key") if kind == "tlt" else as_h5(path, source)
    graph, report = load_backbone(fresh, path, "key")
    for name, array in graph.weights.items():
        expected = fresh if name in HEADS else source
        np.testing.assert_array_equal(array, expected.weights[name])
    assert {row.status for row in report.rows} == {"loaded"}
    skipped = "; skipped in the file: output_bbox, output_cov"
    assert report.summary() == f"{path}: weights of 6 of 6 layers loaded{skipped}"


def test_layers_that_are_missing_or_of_another_shape(tmp_path: Path) -> None:
    source, fresh = tiny_network(seed=1), tiny_network(seed=2)
    weights = layer_weights(source)
    del weights["conv1"]
    weights["a"]["kernel"] = weights["a"]["kernel"][..., :4]
    del weights["b"]["bias"]
    graph, report = load_backbone(fresh, write_keras_file(tmp_path / "w.h5", weights))
    for layer in ("conv1", "a", "b"):
        np.testing.assert_array_equal(graph.weight(layer, "kernel"), fresh.weight(layer, "kernel"))
    np.testing.assert_array_equal(graph.weight("shortcut", "kernel"), source.weight("shortcut", "kernel"))
    assert [row.layer for row in report.layers("missing")] == ["conv1"]
    assert [row.layer for row in report.layers("mismatched")] == ["a", "b"]
    assert "weights of 3 of 6 layers loaded; not in the file: conv1; of another shape: a (kernel" in report.summary()
    assert "b (bias (8,), in the file none)" in report.summary()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = write_keras_file(tmp_path / "w.h5", {f"x{index}": {"kernel": np.zeros(3)} for index in range(7)})
    with pytest.raises(ModelError) as error:
        load_backbone(tiny_network(), path)
    assert "no layer fits tiny_detectnet_v2 (it has x0, x1, x2, x3, x4 and 2 more)" in str(error.value)


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    path = write_keras_file(tmp_path / "w.h5", {"conv1": {"kernel": np.zeros((3, 3, 1, 8), np.float32)}})
    with pytest.raises(ModelError, match=r"conv1: kernel \(3, 3, 3, 8\), in the file \(3, 3, 1, 8\)"):
        load_backbone(tiny_network(), path)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it holds no weights"):
        load_backbone(tiny_network(), write_keras_file(tmp_path / "w.h5", {"conv1": {}}))


@pytest.mark.parametrize("path", WEIGHTS or [pytest.param(None, marks=pytest.mark.skip(reason="no reference files"))])
def test_weights_of_the_original_fit_its_own_model(path: Path) -> None:
    model = open_model(path.with_name(path.name.replace(".weights.h5", ".hdf5")))
    zeros = model.graph.with_weights({name: np.zeros_like(array) for name, array in model.graph.weights.items()})
    graph, report = load_backbone(zeros, path)
    assert len(report.layers("loaded")) == len(report.rows) > 0
    for name, array in graph.weights.items():
        if name not in HEADS:
            np.testing.assert_array_equal(array, model.graph.weights[name])
