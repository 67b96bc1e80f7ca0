"""Files as Keras 2.2.4 writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qatkit.graph.graph import Graph
from qatkit.graph.nodes import BatchNorm, DepthwiseConv2D

KERAS_PARTS = {"mean": "moving_mean", "variance": "moving_variance"}


def layer_weights(graph: Graph) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Layer -> Keras's name of a weight -> array."""
    result = {}
    for node in graph.nodes:
        names = dict(KERAS_PARTS) if isinstance(node, BatchNorm) else {}
        if isinstance(node, DepthwiseConv2D):
            names = {"kernel": "depthwise_kernel"}
        result[node.name] = {names.get(part, part): graph.weight(node.name, part) for part in node.parts}
    return result


def write_keras_file(
    path: Path, weights: Mapping[str, Mapping[str, Any]], description: Any = None, scope: str = ""
) -> Path:
    """A whole model if there is a `description` of it, else weights only; `scope` is appended to weights' layers."""
    with h5py.File(path, "w") as file:
        group = file
        if description is not None:
            file.attrs["model_config"] = json.dumps(description)
            group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            names = [f"{layer}{scope}/{part}:0" for part in arrays]
            inside = group.create_group(layer)
            inside.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, arrays.values()):
                inside[name] = array
    return path


def _layer(kind: str, name: str, inputs: list[str], **config: Any) -> dict[str, Any]:
    calls = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}


class Description:
    """Writes a model_config: `add` a layer, get its name back."""

    def __init__(self, shape: tuple[int, int, int] = (3, 16, 24)) -> None:
        self.layers = [_layer("InputLayer", "input_1", [], batch_input_shape=[None, *shape])]

    def add(self, kind: str, name: str, *inputs: str, **config: Any) -> str:
        self.layers.append(_layer(kind, name, list(inputs), **config))
        return name

    def conv(self, name: str, source: str, filters: int, kernel: int = 1, kind: str = "Conv2D", **config: Any) -> str:
        settings = {
            "filters": filters,
            "kernel_size": [kernel, kernel],
            "strides": [1, 1],
            "padding": "same",
            "data_format": "channels_first",
            "dilation_rate": [1, 1],
            "activation": "linear",
            "use_bias": True,
        }
        return self.add(kind, name, source, **{**settings, **config})

    def batch_norm(self, name: str, source: str, **config: Any) -> str:
        settings = {"axis": 1, "momentum": 0.9, "epsilon": 1e-3, "center": True, "scale": True}
        return self.add("BatchNormalization", name, source, **{**settings, **config})

    def model(self, *outputs: str) -> dict[str, Any]:
        config = {"name": "net", "layers": self.layers, "output_layers": [[name, 0, 0] for name in outputs]}
        return {"class_name": "Model", "config": config}


def tiny_description(classes: int = 2, quantized: bool = False) -> dict[str, Any]:
    """conv1 - bn - relu - heads; the quantized one as TAO's converter makes it."""
    net = Description()

    def qdq(source: str) -> str:
        return net.add("QDQ", f"{source}_qdq", source, bitwidth=8) if quantized else source

    kind = "QuantizedConv2D" if quantized else "Conv2D"
    x = net.conv("conv1", qdq("input_1"), 4, 3, kind=kind, strides=[2, 2])
    x = net.batch_norm("bn", x)
    if quantized:
        x = net.add("ReLU", "relu", x, max_value=6.0, negative_slope=0.0, threshold=0.0)
    else:
        x = net.add("Activation", "relu", x, activation="relu")
    x = qdq(x)
    net.conv("output_bbox", x, 4 * classes)
    net.conv("output_cov", x, classes, activation="sigmoid")
    return net.model("output_bbox", "output_cov")


def tiny_weights(classes: int = 2, quantized: bool = False) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The weights of `tiny_description`."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    weights = {
        "conv1": {"kernel": array(3, 3, 3, 4), "bias": array(4)},
        "bn": {name: np.abs(array(4)) for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        "relu": {},
        "output_bbox": {"kernel": array(1, 1, 4, 4 * classes), "bias": array(4 * classes)},
        "output_cov": {"kernel": array(1, 1, 4, classes), "bias": array(classes)},
    }
    if quantized:
        weights["input_1_qdq"] = {"scaling_factor": np.float32(1.5)}
        weights["relu_qdq"] = {"scaling_factor": np.float32(4.0)}
    return weights
