"""The model file: what goes in comes out, and nothing but ModelError comes out of a damaged one."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.detectnet.labels import Labels
from qatkit.errors import EnvironmentProblem, ModelError
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import LeakyRelu
from qatkit.model import container
from qatkit.model.file import Model, save_model
from qatkit.model.open import open_model
from qatkit.quantization.placement import place
from qatkit.quantization.plan import QuantizationPlan
from tests.support.networks import tiny_network

MODEL = Model(
    graph=tiny_network(),
    labels=Labels(("person", "straßenbahn"), box_scale=20.0, box_offset=0.25),
    ranges={"input_1": 1.0, "add_1": 0.0},
    plan=place(tiny_network(), skip=["b"]),
    pruned=True,
    spec_text='model_config { arch: "resnet" }\n',
    tool_version="9.9",
)
PLAN = place(tiny_network()).to_json()
KEYS = pytest.mark.parametrize("key", [None, "", "tlt_encode"])


def saved(tmp_path: Path, key: str | None = None, model: Model = MODEL) -> Path:
    path = tmp_path / "model.tlt"
    save_model(path, model, key)
    return path


def message(path: Path, key: str | None = None) -> str:
    with pytest.raises(ModelError) as error:
        open_model(path, key or "")
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text


@KEYS
def test_round_trip(tmp_path: Path, key: str | None) -> None:
    found = open_model(saved(tmp_path, key), key or "")
    assert found.graph.nodes == MODEL.graph.nodes
    assert (found.graph.name, found.graph.outputs) == (MODEL.graph.name, MODEL.graph.outputs)
    assert replace(found, graph=MODEL.graph) == MODEL
    assert set(found.graph.weights) == set(MODEL.graph.weights)
    for name, array in MODEL.graph.weights.items():
        np.testing.assert_array_equal(found.graph.weights[name], array)


def test_a_model_that_was_not_quantized(tmp_path: Path) -> None:
    found = open_model(saved(tmp_path, model=Model(tiny_network(), Labels(("a", "b")))))
    assert not found.is_qat and not found.ranges and not found.pruned
    assert (found.labels.box_scale, found.labels.box_offset) == (35.0, 0.5)


def test_a_file_of_an_earlier_version_opens(tmp_path: Path) -> None:
    """Written by 0.1.0, when a model held its plan as JSON; nothing of the header has changed since."""
    path = Path(__file__).with_name("written_by_0.1.0.tlt")
    model = open_model(path)
    assert model.labels == Labels(("person", "bag"), 20.0, 0.25)
    assert model.plan == QuantizationPlan("tensorrt", ("input_1", "relu"), ("conv1",), shared={})
    assert (model.ranges, model.pruned, model.spec_text) == ({"input_1": 1.0, "relu": 2.5}, True, "spec")
    assert [node.name for node in model.graph.nodes[:3]] == ["input_1", "conv1", "relu"]
    header, payload = opened(saved(tmp_path, model=model))
    assert (header, payload) == opened(path) and list(header) == list(opened(path)[0])


def test_weights_are_saved_by_value_whatever_their_memory_layout(tmp_path: Path) -> None:
    graph = tiny_network()
    strided = {name: array[::-1][::-1] for name, array in graph.weights.items()}
    strided["a/kernel"] = np.asfortranarray(strided["a/kernel"])
    found = open_model(saved(tmp_path, model=Model(graph.with_weights(strided), Labels(("a", "b")))))
    np.testing.assert_array_equal(found.graph.weights["a/kernel"], graph.weights["a/kernel"])


def test_weights_that_no_layer_owns_are_not_saved(tmp_path: Path) -> None:
    graph = tiny_network()
    weights = {**graph.weights, "gone/kernel": np.zeros(3, np.float32)}
    found = open_model(saved(tmp_path, model=Model(graph.with_weights(weights), Labels(("a", "b")))))
    assert set(found.graph.weights) == set(graph.weights)


def test_a_plain_file_opens_with_any_key(tmp_path: Path) -> None:
    assert open_model(saved(tmp_path), "whatever").labels.classes == MODEL.labels.classes


def test_two_encrypted_files_differ(tmp_path: Path) -> None:
    first, second = (saved(tmp_path, "key").read_bytes() for _ in range(2))
    assert first != second


def test_weights_are_not_readable_in_an_encrypted_file(tmp_path: Path) -> None:
    kernel = MODEL.graph.weights["a/kernel"].tobytes()
    assert kernel in saved(tmp_path).read_bytes()
    assert kernel not in saved(tmp_path, "key").read_bytes()


@pytest.mark.parametrize(
    "key, text", [(None, "encrypted (give its key"), ("", "encrypted"), ("Key", "does not fit"), ("ké\udcff", "fit")]
)
def test_wrong_keys(tmp_path: Path, key: str | None, text: str) -> None:
    assert text in message(saved(tmp_path, "key"), key)


def test_missing_file(tmp_path: Path) -> None:
    assert "there is no such model file" in message(tmp_path / "no.tlt")


def test_folder(tmp_path: Path) -> None:
    assert "this is a folder" in message(tmp_path)


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("m.tlt", b"", "is empty"),
        ("m.tlt", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        ("m.tlt", b"PK\x03\x04" + bytes(99), "zip"),
        ("m.tlt", bytes(range(256)), "NVIDIA's encrypted .tlt, it cannot be read"),
        ("m.etlt", bytes(range(256)), "NVIDIA's encrypted .etlt, it cannot be read"),
        ("m.onnx", b"\x08\x07" + bytes(99), "ONNX"),
        ("m.engine", b"ftrt" + bytes(99), "TensorRT engine"),
        ("m.txt", b"hello", "is not a qatkit model"),
        ("m.tlt", container.MAGIC, "cut off after 8 bytes"),
        ("m.tlt", container.MAGIC + struct.pack("<II", 2, 0) + bytes(99), "format 2 is not known"),
        ("m.tlt", container.MAGIC + struct.pack("<II", 1, 2**32 - 1) + bytes(99), "damaged or cut off"),
    ],
)
def test_other_files(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert text in message(path)


@KEYS
def test_flipped_bits_are_noticed_and_are_not_taken_for_a_wrong_key(tmp_path: Path, key: str | None) -> None:
    path = saved(tmp_path, key)
    content = path.read_bytes()
    for position in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert "the key does not fit" not in message(path, key)


@KEYS
def test_cut_files_are_noticed(tmp_path: Path, key: str | None) -> None:
    path = saved(tmp_path, key)
    content = path.read_bytes()
    for length in (*range(0, 40), *range(40, len(content), 211), len(content) - 1):
        path.write_bytes(content[:length])
        assert "the key does not fit" not in message(path, key)


def resealed(header: Any, payload: bytes) -> bytes:
    """A file with a correct checksum around anything."""
    text = json.dumps(header).encode()
    content = struct.pack("<8sII", container.MAGIC, container.VERSION, len(text)) + text + payload
    return content + hashlib.sha256(content).digest()


def opened(path: Path) -> tuple[dict[str, Any], bytes]:
    return container.read(path, None)


def test_an_encrypted_file_with_a_changed_header_is_refused(tmp_path: Path) -> None:
    content = saved(tmp_path, "key").read_bytes()[:-32].replace(b"person", b"parson")
    path = tmp_path / "changed.tlt"
    path.write_bytes(content + hashlib.sha256(content).digest())
    assert "changed after it was encrypted" in message(path, "key")


@pytest.mark.parametrize(
    "change, text",
    [
        ({"classes": []}, "at least one class"),
        ({"classes": ["a", "a"]}, "listed twice"),
        ({"classes": "person"}, "classes: should be list"),
        ({"classes": ["a\nb"]}, "cannot be a name"),
        ({"box_scale": 0}, "make no sense"),
        ({"box_scale": 10**400}, "finite"),
        ({"box_offset": "1"}, "box_offset: should be float"),
        ({"ranges": {"nowhere": 1.0}}, "range of nowhere: there is no such layer"),
        ({"ranges": {"input_1": -1.0}}, "not negative"),
        ({"ranges": {"input_1": None}}, "input_1: should be float"),
        ({"ranges": []}, "ranges: should be dict"),
        ({"plan": []}, "plan: should be dict"),
        ({"plan": {"placement": "tensorrt"}}, "quantization plan: damaged"),
        ({"plan": {**PLAN, "placement": "other"}}, "quantization plan: unknown placement"),
        ({"plan": {**PLAN, "weights": ["conv9"]}}, "quantization plan: the network has no layer conv9"),
        ({"pruned": 1}, "pruned: should be bool"),
        ({"nodes": []}, "one Input"),
        ({"nodes": [1]}, "nodes: should be a list"),
        ({"outputs": []}, "at least one output"),
        ({"outputs": ["nowhere"]}, "output nowhere: there is no such layer"),
        ({"encryption": {}}, "is encrypted"),
    ],
)
def test_headers_that_make_no_sense(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = saved(tmp_path)
    header, payload = opened(path)
    path.write_bytes(resealed({**header, **change}, payload))
    assert text in message(path)


@pytest.mark.parametrize(
    "name, change, text",
    [
        ("conv1", {"op": "Lambda"}, "operation is not known"),
        ("conv1", {"strides": [0, 1]}, "layer conv1: strides should lie within 1 and 1024, found 0"),
        ("conv1", {"strides": [1]}, "strides should be 2 numbers"),
        ("conv1", {"strides": 2}, "strides should be 2 numbers"),
        ("conv1", {"filters": 8.0}, "filters should be int"),
        ("conv1", {"filters": 9}, "kernel should have the shape (3, 3, 3, 9)"),
        ("conv1", {"use_bias": 1}, "use_bias should be bool"),
        ("conv1", {"evil": 1}, "unknown or missing fields: evil"),
        ("conv1", {"inputs": []}, "Conv2D cannot have 0 inputs"),
        ("conv1", {"inputs": ["a"]}, "its input a does not come before it"),
        ("conv1", {"inputs": "input_1"}, "inputs should be a list"),
        ("conv1", {"name": ""}, "cannot be a name"),
        ("conv1", {"name": "input_1"}, "the name is used twice"),
        ("bn_conv1", {"epsilon": float("nan")}, "epsilon should lie within"),
        ("add_1", {"inputs": []}, "Add has no input"),
        ("input_1", {"shape": [16, 24, 10**9]}, "shape should lie within"),
        ("input_1", {"shape": [1, 1, 3], "op": "Relu"}, "unknown or missing fields: shape"),
    ],
)
def test_nodes_that_make_no_sense(tmp_path: Path, name: str, change: dict[str, Any], text: str) -> None:
    path = saved(tmp_path)
    header, payload = opened(path)
    nodes = [{**node, **(change if node["name"] == name else {})} for node in header["nodes"]]
    path.write_bytes(resealed({**header, "nodes": nodes}, payload))
    assert text in message(path)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"a/kernel": None}, "layer a: kernel should have the shape (3, 3, 8, 16), found nothing"),
        ({"a/kernel": np.zeros((3, 3, 8, 16), np.float16)}, "should be float32, found float16"),
        ({"a/kernel": np.zeros((3, 3, 16, 8), np.float32)}, "found (3, 3, 16, 8)"),
        ({"a/bias": np.full(16, np.nan, np.float32)}, "weight a/bias: not all of its values are numbers"),
        ({"z/bias": np.zeros(1, np.float32)}, "weight z/bias: no layer owns it"),
    ],
)
def test_weights_that_make_no_sense(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = saved(tmp_path)
    header, payload = opened(path)
    weights = {**safetensors.numpy.load(payload), **change}
    weights = {name: array for name, array in weights.items() if array is not None}
    path.write_bytes(resealed(header, safetensors.numpy.save(weights)))
    assert text in message(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_header_gives_a_model_or_a_model_error(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = saved(tmp_path_factory.mktemp("any"))
    header, payload = opened(path)
    target = data.draw(st.sampled_from([header, *header["nodes"]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    path.write_bytes(resealed(header, payload))
    try:
        open_model(path)
    except ModelError:
        return


@settings(max_examples=150, deadline=None)
@given(payload=st.binary(max_size=200), position=st.integers(0, 2000), value=st.integers(0, 255))
def test_any_payload_gives_a_model_or_a_model_error(
    payload: bytes, position: int, value: int, tmp_path_factory: Any
) -> None:
    path = saved(tmp_path_factory.mktemp("any"))
    header, original = opened(path)
    changed = bytearray(original)
    changed[position] = value
    for content in (payload, bytes(changed)):
        path.write_bytes(resealed(header, content))
        try:
            open_model(path)
        except ModelError:
            continue


@pytest.mark.parametrize("text", [b"[" * 100_000, b"9" * 5000, b"\xff", b"[]", b'{"nodes": NaN'])
def test_headers_that_are_not_json_objects(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "m.tlt"
    content = struct.pack("<8sII", container.MAGIC, container.VERSION, len(text)) + text
    path.write_bytes(content + hashlib.sha256(content).digest())
    assert "header is not" in message(path)


def test_a_model_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    graph = tiny_network()
    nodes = (*graph.nodes, LeakyRelu("steep", ("add_1",), alpha=7.0))
    path = tmp_path / "m.tlt"
    with pytest.raises(ModelError, match="layer steep: alpha"):
        save_model(path, Model(Graph("g", nodes, graph.weights, graph.outputs), Labels(("a", "b"))))
    assert not path.exists()


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "model.tlt").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"model\.tlt: cannot write"):
        saved(tmp_path)
