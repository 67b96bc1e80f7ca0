"""TAO 5's `.hdf5` models and `.h5` weights: plain tensors, by layer name.

Only names, shapes and numbers are read. The network's description is read by `keras_config`; nothing is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.labels import Labels
from qatkit.errors import ModelError
from qatkit.graph.graph import Graph
from qatkit.model.file import Model
from qatkit.model.foreign import HDF5_SIGNATURE
from qatkit.model.keras_config import KerasNetwork, read_network
from qatkit.quantization.plan import QuantizationPlan

# Layer -> part (the name that our nodes use) -> array.
LayerWeights = Mapping[str, Mapping[str, NDArray[np.float32]]]

_PARTS = {"depthwise_kernel": "kernel", "moving_mean": "mean", "moving_variance": "variance"}
_OUTPUTS = ("output_bbox", "output_cov/Sigmoid")
_MAX_DESCRIPTION = 64 << 20


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as HDF5 does; False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    except OSError:
        return False  # whoever opens it next says what is wrong


def read_hdf5(path: Path) -> Model:
    """The DetectNet_v2 model in a TAO `.hdf5` file, trained with QAT or not.

    TAO stores no names of classes, they are called class_0, class_1, ...; nor box scale and offset: the customary
    ones are assumed. The plan of a QAT model says where TAO quantized, its ranges are TAO's. Raises ModelError for a
    damaged file and for what is no DetectNet_v2 network.
    """
    with _opened(path) as file:
        if "model_config" not in file.attrs:
            raise ModelError("holds weights only, no network", hint="it can serve as pretrained_model_file")
        return _model(read_network(_description(file.attrs["model_config"])), _layer_weights(file))


def read_hdf5_weights(path: Path) -> LayerWeights:
    """The weights of every layer in a TAO `.hdf5` or `.h5` file. Raises ModelError for a damaged file."""
    with _opened(path) as file:
        return _layer_weights(file)


def _model(network: KerasNetwork, weights: LayerWeights) -> Model:
    names = {node.name for node in network.nodes}
    for output in _OUTPUTS:
        if output not in names:
            raise ModelError(f"this is no DetectNet_v2 network: it has no {output}")
    arrays = {}
    for node in network.nodes:
        for part in node.parts:
            if part not in weights.get(node.name, {}):
                raise ModelError(f"layer {node.name}: its {part} is missing")
            arrays[f"{node.name}/{part}"] = weights[node.name][part]
    graph = Graph(network.name, network.nodes, arrays, _OUTPUTS)
    count = graph.shape("output_cov")[2]
    if graph.shape("output_bbox")[2] != 4 * count:
        raise ModelError(f"output_bbox should have {4 * count} channels, as output_cov has {count}")
    return Model(graph, Labels.unnamed(count), _ranges(network, weights), _plan(network))


def _ranges(network: KerasNetwork, weights: LayerWeights) -> dict[str, float]:
    """Node -> amax, from the quantizers' `scaling_factor`."""
    ranges = {}
    for layer, node in (*network.qdq.items(), *network.quantized_inputs.items()):
        factor = weights.get(layer, {}).get("scaling_factor")
        if factor is None or factor.size != 1:
            raise ModelError(f"layer {layer}: its scaling_factor should be one number")
        ranges[node] = float(abs(factor.reshape(())))
    return {node.name: ranges[node.name] for node in network.nodes if node.name in ranges}


def _plan(network: KerasNetwork) -> QuantizationPlan | None:
    """TAO's placement, as the file has it; None without quantizers."""
    quantized = {*network.qdq.values(), *network.quantized_inputs.values()}
    if not quantized and not network.quantized_kernels:
        return None
    activations = tuple(node.name for node in network.nodes if node.name in quantized)
    return QuantizationPlan("tao", activations, tuple(network.quantized_kernels), shared={})


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file at `path`; whatever is found wrong with it becomes a ModelError that names it."""
    if path.is_dir():
        raise ModelError(f"{path}: this is a folder, not a model file")
    if not path.exists():
        raise ModelError(f"{path}: there is no such model file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: this HDF5 file is damaged: {error}") from error


def _description(text: Any) -> Any:
    if len(text) > _MAX_DESCRIPTION:
        raise ModelError(f"the description of the network is too long: {len(text)} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the description of the network is not JSON: {error}") from error


def _layer_weights(file: h5py.File) -> LayerWeights:
    group = file.get("model_weights", file)
    if "layer_names" not in group.attrs and "layer_names0" not in group.attrs:
        raise ModelError("this HDF5 file holds no Keras weights")
    return {layer: _weights(group[layer], file.filename) for layer in _texts(group, "layer_names")}


def _weights(group: h5py.Group, home: str) -> dict[str, NDArray[np.float32]]:
    """Part -> array of one layer; TAO calls parts `<layer>/kernel:0` or `<layer>_1/kernel:0`."""
    arrays = {}
    for name in _texts(group, "weight_names"):
        part = name.rsplit("/", 1)[-1].split(":")[0]
        arrays[_PARTS.get(part, part)] = _array(group[name], name, home)
    return arrays


def _array(dataset: Any, name: str, home: str) -> NDArray[np.float32]:
    # Links and external storage would read other files; Keras writes none of them.
    plain = isinstance(dataset, h5py.Dataset) and not dataset.external and not dataset.is_virtual
    if not plain or dataset.file.filename != home:
        raise ModelError(f"weight {name} is not stored in the file itself")
    # Keras does not compress: what claims to be larger than the file is damaged or a trap.
    if dataset.nbytes > Path(home).stat().st_size or dataset.dtype.kind != "f":
        raise ModelError(f"weight {name}: {dataset.dtype} of shape {dataset.shape} cannot be in this file")
    array = np.asarray(dataset[()], np.float32)
    if not np.isfinite(array).all():
        raise ModelError(f"weight {name}: not all of its values are numbers")
    return array


def _texts(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; Keras cuts one that is too long for a header into `<attribute>0`, `<attribute>1`, ..."""
    if attribute in group.attrs:
        pieces = [group.attrs[attribute]]
    else:
        pieces = []
        while f"{attribute}{len(pieces)}" in group.attrs:
            pieces.append(group.attrs[f"{attribute}{len(pieces)}"])
    return [text.decode() if isinstance(text, bytes) else str(text) for piece in pieces for text in piece]
