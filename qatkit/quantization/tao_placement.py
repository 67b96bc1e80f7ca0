"""Where TAO 5 places its quantizers, for comparison and to read what TAO trained.

Source: the published converter of TAO (`quantize_keras_model`). Both inputs of an Add and its output carry one, and
so does every pooling and concatenation; the layers at the outputs are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qatkit.graph.graph import Graph
from qatkit.graph.nodes import (
    CONVOLUTIONS,
    Add,
    BatchNorm,
    Concat,
    LeakyRelu,
    Multiply,
    Node,
    Relu,
    Relu6,
    Sigmoid,
    Swish,
)
from qatkit.quantization.plan import QuantizationPlan

_RELU_LIKE = (Relu, Relu6, LeakyRelu)
# Through these TAO's converter walks back from an output and leaves alone what it meets.
_PASSED_BACK = (Relu, Relu6, Swish, Sigmoid, Add, Multiply, Concat)


def place_tao(graph: Graph, skipped: set[str], skip: tuple[str, ...]) -> QuantizationPlan:
    """TAO's plan for `graph`; the layers of the nodes in `skipped` are left alone as its outputs are."""
    untouched = _tao_untouched(graph) | {_layer(graph, graph[name]) for name in skipped}
    readers = graph.consumers()
    converted = [node for node in graph.nodes if _layer(graph, node) not in untouched]
    return QuantizationPlan(
        placement="tao",
        activations=tuple(node.name for node in converted if _tao_carries(graph, readers, node)),
        weights=tuple(node.name for node in converted if isinstance(node, CONVOLUTIONS)),
        shared={},
        skip=skip,
    )


def _layer(graph: Graph, node: Node) -> str:
    """The Keras layer that `node` belongs to: an activation inside a convolution is called `<layer>/<Op>`."""
    layer, _, inner = node.name.rpartition("/")
    return layer if inner and layer in graph else node.name


def _tao_untouched(graph: Graph) -> set[str]:
    """The layers from an output back to the first one that is no activation and no element-wise operation."""
    untouched: set[str] = set()
    waiting = list(graph.outputs)
    while waiting:
        node = graph[waiting.pop()]
        layer = _layer(graph, node)
        untouched.add(layer)
        if layer == node.name and isinstance(node, _PASSED_BACK):
            waiting.extend(node.inputs)
    return untouched


def _tao_carries(graph: Graph, readers: Mapping[str, Sequence[Node]], node: Node) -> bool:
    following = readers[node.name]
    only = following[0] if len(following) == 1 else None
    if isinstance(node, CONVOLUTIONS):
        inside = only is not None and _layer(graph, only) == node.name
        return not (isinstance(only, BatchNorm) or (inside and isinstance(only, _RELU_LIKE)))
    if isinstance(node, BatchNorm):
        return not (isinstance(only, _RELU_LIKE) and isinstance(graph[node.inputs[0]], CONVOLUTIONS))
    return True
