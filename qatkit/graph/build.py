"""spec -> `Graph`: the backbone that model_config names with DetectNet_v2's two heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatkit import console
from qatkit.errors import SpecError
from qatkit.graph import nodes
from qatkit.graph.backbones.base import Backbone, BackboneOptions
from qatkit.graph.backbones.darknet import DARKNET
from qatkit.graph.backbones.efficientnet import EFFICIENTNET_B0
from qatkit.graph.backbones.googlenet import GOOGLENET
from qatkit.graph.backbones.mobilenet_v1 import MOBILENET_V1
from qatkit.graph.backbones.mobilenet_v2 import MOBILENET_V2
from qatkit.graph.backbones.resnet import RESNET
from qatkit.graph.backbones.squeezenet import SQUEEZENET
from qatkit.graph.backbones.vgg import VGG
from qatkit.graph.builder import Builder
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import CONVOLUTIONS, Shape
from qatkit.spec.backbones import ARCHITECTURES

if TYPE_CHECKING:
    from qatkit.spec import ModelConfig

BACKBONES: dict[str, Backbone] = {
    "resnet": RESNET,
    "vgg": VGG,
    "googlenet": GOOGLENET,
    "mobilenet_v1": MOBILENET_V1,
    "mobilenet_v2": MOBILENET_V2,
    "squeezenet": SQUEEZENET,
    "darknet": DARKNET,
    "efficientnet_b0": EFFICIENTNET_B0,
}
BBOX = "output_bbox"
COV = "output_cov"
# TAO's output_cov is one layer with a sigmoid inside; here the sigmoid is a node of its own.
COV_OUTPUT = f"{COV}/Sigmoid"
OUTPUTS = (BBOX, COV_OUTPUT)


def build(model_config: ModelConfig, input_shape: Shape, classes: int, seed: int) -> Graph:
    """The network that `model_config` describes, with Keras's initial weights.

    input_shape: (height, width, channels) of the images; classes: their number; equal seeds give equal weights,
    and a layer's weights do not depend on which other layers there are.
    Raises SpecError for an arch, a depth or a head's input that does not exist.
    """
    arch = model_config.arch
    backbone = find_backbone(arch)
    fixed = ARCHITECTURES[arch].batch_norm
    options = BackboneOptions(
        num_layers=model_config.num_layers,
        use_batch_norm=model_config.use_batch_norm if fixed is None else fixed,
        use_pooling=model_config.use_pooling,
        all_projections=model_config.all_projections,
    )
    depths = ARCHITECTURES[arch].depths
    if depths and options.num_layers not in depths:
        listed = ", ".join(map(str, depths))
        raise SpecError(f"model_config.num_layers: there is no {arch} {options.num_layers}", hint=f"one of {listed}")
    if arch == "resnet" and options.use_pooling:
        console.warn("model_config.use_pooling: with pooling a resnet has stride 224, too coarse to detect anything")
    net = Builder(input_shape, use_batch_norm=options.use_batch_norm, frozen_bn=model_config.freeze_bn)
    last = backbone.add(net, options)
    objectives = model_config.objective_set
    bbox_input = _attachment(net, objectives.bbox.input, last, "bbox")
    cov_input = _attachment(net, objectives.cov.input, last, "cov")
    return _with_heads(net, bbox_input, cov_input, classes, f"{backbone.name(options)}_detectnet_v2", seed)


def find_backbone(arch: str) -> Backbone:
    """The backbone called `arch`. Raises SpecError where there is none."""
    if arch not in BACKBONES:
        raise SpecError(f"model_config.arch: there is no backbone {arch!r}", hint=f"one of {', '.join(BACKBONES)}")
    return BACKBONES[arch]


def blocks_by_arch(graph: Graph) -> dict[str, dict[str, int]]:
    """arch -> convolution -> the id of its block, as freeze_blocks counts, for each backbone that `graph` can be.

    The names of the layers tell, and stay when channels are pruned away: one backbone as a rule, several for a few
    of its first layers, none for another network.
    """
    names = [node.name for node in graph.nodes if isinstance(node, CONVOLUTIONS) and node.name not in graph.heads]
    found = {}
    for arch, backbone in BACKBONES.items():
        blocks = {name: block for name in names if (block := backbone.block_of(name)) is not None}
        if len(blocks) == len(names):
            found[arch] = blocks
    return found


def blocks_of(graph: Graph) -> dict[str, int]:
    """Convolution -> the id of its block; nothing for a network of none of our backbones."""
    return next(iter(blocks_by_arch(graph).values()), {})


def _attachment(net: Builder, wanted: str, last: str, objective: str) -> str:
    """The layer that a head reads: the last one, or the one called `wanted`, or the only one containing it."""
    if not wanted:
        return last
    if wanted in net.names:
        return wanted
    found = [name for name in net.names if wanted in name]
    if not found:
        raise SpecError(f"objective_set.{objective}.input: no layer has {wanted!r} in its name")
    if len(found) > 1:
        listed = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise SpecError(f"objective_set.{objective}.input: {wanted!r} fits {len(found)} layers", hint=listed)
    return found[0]


def _with_heads(net: Builder, bbox_input: str, cov_input: str, classes: int, name: str, seed: int) -> Graph:
    net.conv(bbox_input, 4 * classes, name=BBOX)
    net.conv(cov_input, classes, name=COV)
    net.add_node(nodes.Sigmoid(COV_OUTPUT, (COV,)))
    graph = net.graph(name, OUTPUTS, seed)
    if graph.shape(BBOX)[:2] != graph.shape(COV_OUTPUT)[:2]:
        sizes = " and ".join("x".join(map(str, graph.shape(output)[:2])) for output in OUTPUTS)
        raise SpecError(f"objective_set: bbox and cov must be attached to layers of one size, found {sizes}")
    return graph
