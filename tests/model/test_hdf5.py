"""TAO 5's models and weights: what they compute, and files that are not what they should be."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qatkit.detectnet.labels import Labels
from qatkit.errors import ModelError, UsageError
from qatkit.model.hdf5 import read_hdf5, read_hdf5_weights
from qatkit.model.open import open_model
from qatkit.quantization.plan import QuantizationPlan
from tests.support import golden_data
from tests.support.keras_files import tiny_description, tiny_weights, write_keras_file
from tests.support.one_code import one_code
from tests.support.reference import evaluate

TOPIC = "12_hdf5"


def _cases() -> list[dict[str, Any]]:
    return [case for case in golden_data.cases(TOPIC) if (golden_data.ROOT / TOPIC / case["file"]).exists()]


CASES = pytest.mark.parametrize("case", golden_data.params(TOPIC, _cases()))


@CASES
def test_outputs_are_those_of_the_original(case: dict[str, Any]) -> None:
    model = open_model(golden_data.ROOT / TOPIC / case["file"], labels=Labels(tuple(case["classes"])))
    images = golden_data.array(TOPIC, case, "x").transpose(0, 2, 3, 1)
    values = evaluate(model.graph, images, model.ranges, model.plan.weights if model.plan else (), tao=True)
    for layer, node in (("output_bbox", "output_bbox"), ("output_cov", "output_cov/Sigmoid")):
        expected = golden_data.array(TOPIC, case, f"out_{layer}").transpose(0, 2, 3, 1)
        # Quantized: single codes may flip at rounding ties.
        least = one_code(model.graph, model.ranges, layer)
        tolerance = max((2e-2 if case["qat"] else 1e-4) * np.abs(expected).max(), least)
        np.testing.assert_allclose(values[node], expected, rtol=0, atol=tolerance)


@CASES
def test_facts_about_the_model(case: dict[str, Any]) -> None:
    model = open_model(golden_data.ROOT / TOPIC / case["file"], labels=Labels(tuple(case["classes"])))
    factors = case["qdq_scaling_factors"]
    assert model.labels.classes == tuple(case["classes"])
    assert model.graph.params == case["params"] - len(factors)
    assert model.graph.outputs == ("output_bbox", "output_cov/Sigmoid")
    assert model.is_qat is case["qat"]
    assert model.ranges == {layer.removesuffix("_qdq"): amax for layer, amax in factors.items()}


def tiny(tmp_path: Path, quantized: bool = False, scope: str = "", **changes: Any) -> Path:
    weights = {**tiny_weights(quantized=quantized), **changes}
    return write_keras_file(tmp_path / "tiny.hdf5", weights, tiny_description(quantized=quantized), scope)


@pytest.mark.parametrize("scope", ["", "_1"])
def test_a_float_model(tmp_path: Path, scope: str) -> None:
    model = read_hdf5(tiny(tmp_path, scope=scope))
    weights = tiny_weights()
    assert model.labels.classes == ("class_0", "class_1")
    assert (model.labels.box_scale, model.labels.box_offset, model.pruned, model.plan) == (35.0, 0.5, False, None)
    assert model.graph.name == "net" and model.graph.shape("output_bbox") == (8, 12, 8)
    np.testing.assert_array_equal(model.graph.weight("conv1", "kernel"), weights["conv1"]["kernel"])
    np.testing.assert_array_equal(model.graph.weight("bn", "variance"), weights["bn"]["moving_variance"])


def test_a_quantized_model(tmp_path: Path) -> None:
    model = open_model(tiny(tmp_path, quantized=True), labels=Labels(("person", "bag")))
    assert model.ranges == {"input_1": 1.5, "relu": 4.0}
    assert model.plan == QuantizationPlan("tao", ("input_1", "relu"), ("conv1",), shared={}, skip=())
    assert model.labels.classes == ("person", "bag")


def test_names_cut_into_pieces(tmp_path: Path) -> None:
    path = tiny(tmp_path)
    with h5py.File(path, "a") as file:
        attributes = file["model_weights"].attrs
        names = list(attributes["layer_names"])
        del attributes["layer_names"]
        attributes["layer_names0"], attributes["layer_names1"] = names[:2], names[2:]
    assert read_hdf5(path).graph.params == read_hdf5(tiny(tmp_path)).graph.params


def test_weights_only(tmp_path: Path) -> None:
    path = write_keras_file(tmp_path / "w.h5", tiny_weights())
    found = read_hdf5_weights(path)
    assert set(found["bn"]) == {"gamma", "beta", "mean", "variance"}
    assert found["relu"] == {}
    with pytest.raises(ModelError, match="holds weights only, no network"):
        read_hdf5(path)


FLOAT16 = {"kernel": np.ones((3, 3, 3, 4), np.float16), "bias": np.ones(4, np.float16)}


def test_other_floats_become_float32(tmp_path: Path) -> None:
    kernel = read_hdf5(tiny(tmp_path, conv1=FLOAT16)).graph.weight("conv1", "kernel")
    assert kernel.dtype == np.float32 and (kernel == 1).all()


@pytest.mark.parametrize(
    "quantized, changes, message",
    [
        (False, {"conv1": {"kernel": np.zeros((3, 3, 3, 4), np.float32)}}, "layer conv1: its bias is missing"),
        (False, {"conv1": {}}, "layer conv1: its kernel is missing"),
        (False, {"conv1": {"kernel": np.zeros(3, np.float32), "bias": np.zeros(4, np.float32)}}, "have the shape"),
        (False, {"conv1": {"kernel": np.zeros(3, np.int32)}}, "int32 of shape (3,) cannot be in this file"),
        (False, {"bn": {"gamma": np.full(4, np.inf, np.float32)}}, "not all of its values are numbers"),
        (True, {"relu_qdq": {}}, "layer relu_qdq: its scaling_factor should be one number"),
        (True, {"relu_qdq": {"scaling_factor": np.zeros(2, np.float32)}}, "scaling_factor should be one number"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, quantized: bool, changes: dict[str, Any], message: str) -> None:
    path = tiny(tmp_path, quantized, **changes)
    with pytest.raises(ModelError) as error:
        read_hdf5(path)
    assert message in str(error.value) and str(error.value).startswith(str(path))


def test_another_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the network has 2 classes, the spec 1 \(person\)"):
        open_model(tiny(tmp_path), labels=Labels(("person",)))


def test_a_network_without_heads(tmp_path: Path) -> None:
    description = tiny_description()
    description["config"]["layers"] = description["config"]["layers"][:-2]
    description["config"]["output_layers"] = [["relu", 0, 0]]
    path = write_keras_file(tmp_path / "b.hdf5", tiny_weights(), description)
    with pytest.raises(ModelError, match="no DetectNet_v2 network: it has no output_bbox"):
        read_hdf5(path)


def test_heads_that_do_not_belong_together(tmp_path: Path) -> None:
    description = tiny_description()
    description["config"]["layers"][-2]["config"]["filters"] = 4
    box = {"kernel": np.zeros((1, 1, 4, 4), np.float32), "bias": np.zeros(4, np.float32)}
    path = write_keras_file(tmp_path / "b.hdf5", {**tiny_weights(), "output_bbox": box}, description)
    with pytest.raises(ModelError, match="output_bbox should have 8 channels"):
        read_hdf5(path)


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    path, other = tiny(tmp_path), tmp_path / "other.hdf5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros(4, np.float32)
    with h5py.File(path, "a") as file:
        group = file["model_weights/conv1"]
        del group["conv1/bias:0"]
        group["conv1/bias:0"] = h5py.ExternalLink(str(other), "/secret")
    with pytest.raises(ModelError, match="not stored in the file itself"):
        read_hdf5(path)


def test_arrays_larger_than_the_file_are_not_read(tmp_path: Path) -> None:
    path = tiny(tmp_path)
    with h5py.File(path, "a") as file:
        group = file["model_weights/conv1"]
        del group["conv1/bias:0"]
        group.create_dataset("conv1/bias:0", (1 << 34,), np.float32, chunks=(1 << 20,), compression="gzip")
    with pytest.raises(ModelError, match=r"shape \(17179869184,\) cannot be in this file"):
        read_hdf5(path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"net"'])
def test_descriptions_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    path = tiny(tmp_path)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = text
    with pytest.raises(ModelError, match="description of the network is"):
        read_hdf5(path)


@pytest.mark.parametrize(
    "content, message", [(b"", "damaged"), (b"\x89HDF\r\n\x1a\n" + bytes(80), "damaged"), (b"text", "damaged")]
)
def test_what_is_no_hdf5(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.hdf5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_hdf5(path)


def test_an_hdf5_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(ModelError, match="holds no Keras weights"):
        read_hdf5_weights(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such model file"):
        read_hdf5(tmp_path / "no.hdf5")
    with pytest.raises(ModelError, match="this is a folder"):
        read_hdf5(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_give_a_model_or_a_model_error(tmp_path: Path, seed: int) -> None:
    path = tiny(tmp_path, quantized=True)
    content = bytearray(path.read_bytes())
    source = random.Random(seed)
    if seed % 4 == 0:
        del content[source.randrange(len(content)) :]
    for _ in range(seed % 4 * 5):
        content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    path.write_bytes(content)
    try:
        read_hdf5(path)
    except ModelError:
        return
