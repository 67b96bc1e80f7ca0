"""The networks of the pruning vectors: from their Keras description, or built; weights by the vectors' rule."""

from __future__ import annotations

import json
import re
import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.graph.build import build
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import DepthwiseConv2D, Node, Shape
from qatkit.model.keras_config import read_network
from qatkit.spec import ModelConfig
from tests.support import golden_data

TOPIC = "08_prune"
_BUILT = re.compile(r"detectnet_(.*?[a-z](?:_v[12]|_b0)?)(\d*)(?:_[a-z_]+)?")


@cache
def models() -> dict[str, Any]:
    path = golden_data.ROOT / TOPIC / "models.json"
    return json.loads(path.read_text()) if path.exists() else {}


@cache
def network(model: str) -> Graph:
    """The float network called `model` with its weights; quantizers are passed."""
    entry = models()[model]
    if "keras_config" not in entry:
        return _built(model, entry)
    found = read_network(entry["keras_config"])
    return with_weights(found.name, found.nodes, found.outputs, entry["weight_seed"])


def _built(model: str, entry: dict[str, Any]) -> Graph:
    """The network of a listing without description, by its name and its layers: `detectnet_resnet18_qat`."""
    found, layers = _BUILT.fullmatch(model), entry["inbound"]
    assert found is not None, model
    config = ModelConfig(
        arch=found[1],
        num_layers=int(found[2] or 18),
        use_batch_norm=any("bn" in name for name in layers),
        use_pooling=any("pool" in name for name in layers),
        all_projections="block_1b_conv_shortcut" in layers,
    )
    classes = entry["weight_shapes"]["output_cov"][0][-1]
    graph = build(config, (64, 96, 3), classes, seed=0)
    return with_weights(graph.name, graph.nodes, graph.outputs, entry["weight_seed"])


def with_weights(
    name: str, nodes: tuple[Node, ...], outputs: tuple[str, ...], seed: int, spread: float = 2.0
) -> Graph:
    """The network of `nodes`; kernels' channels differ by up to 10 ** spread."""
    shapes: dict[str, Shape] = {}
    weights: dict[str, NDArray[np.float32]] = {}
    for node in nodes:
        inputs = [shapes[source] for source in node.inputs]
        shapes[node.name] = node.output_shape(inputs)
        axis = 2 if isinstance(node, DepthwiseConv2D) else -1
        for index, (part, shape) in enumerate(node.weight_shapes(inputs).items()):
            weights[f"{node.name}/{part}"] = _weight(node.name, index, shape, axis, seed, spread)
    return Graph(name, nodes, weights, outputs)


def _weight(
    layer: str, index: int, shape: tuple[int, ...], axis: int, seed: int, spread: float
) -> NDArray[np.float32]:
    random = np.random.RandomState((zlib.crc32(layer.encode()) + 7919 * index + seed) % 2**32)
    if len(shape) < 2:
        return random.uniform(0.1, 1, shape).astype(np.float32)
    values = random.standard_normal(shape).astype(np.float32)
    factor = (10 ** random.uniform(-spread, 0, shape[axis])).astype(np.float32)
    return values * (factor[:, None] if axis == 2 else factor)
