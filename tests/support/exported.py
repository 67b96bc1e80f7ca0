"""Quantized exports of small networks, for tests of the engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import ModelInfo
from qatkit.engine.int8.graph import parse
from qatkit.engine.int8.scheme import Int8Scheme, from_cache, from_qdq
from qatkit.engine.onnx_file import OnnxFile
from qatkit.export.cache import from_ranges
from qatkit.export.deployed import Deployed, deploy
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import to_onnx
from qatkit.export.qdq import to_qdq_onnx
from qatkit.graph.graph import Graph
from qatkit.quantization.folding import snap_biases_to_grid
from qatkit.quantization.placement import Placement, QuantizationPlan, place
from tests.support import blocks
from tests.support.networks import Net, residual
from tests.support.reference import evaluate, nchw

METADATA = Metadata(Labels(("car", "person")), 2)
OUTPUTS = ("output_cov/Sigmoid:0", "output_bbox/BiasAdd:0")


NETWORKS: dict[str, Callable[[], Net]] = {
    "conv-relu": blocks.conv_relu,
    "conv-bn-relu": blocks.conv_bn_relu,
    "linear": blocks.linear_then_conv,
    "relu6": blocks.relu6,
    "leaky": blocks.leaky,
    "max-pool": blocks.max_pool,
    "max-pool of the image": blocks.pool_of_image,
    "concat": blocks.concat,
    "concat, branch read twice": blocks.concat_of_read_branch,
    "pad and depthwise": blocks.padded,
    "linear depthwise": blocks.linear_depthwise,
    "average pool": blocks.average,
    "add of activations": blocks.add_of_activations,
    "squeeze-excite": blocks.squeeze_excite,
    "identity": lambda: residual(projection=False),
    "projection": lambda: residual(projection=True),
    "projection, read first": lambda: residual(projection=True, shortcut_first=True),
    "bottleneck": blocks.bottleneck,
    "dilated": blocks.dilated,
}


@dataclass(frozen=True)
class Exported:
    """A network with everything that was exported of it; ranges by trained node."""

    graph: Graph
    plan: QuantizationPlan
    ranges: Mapping[str, float]
    deployed: Deployed
    clean: onnx.ModelProto
    qdq: onnx.ModelProto

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(self.graph.input.shape, METADATA.labels)

    @property
    def clean_file(self) -> OnnxFile:
        return OnnxFile.of(self.clean, Path("model.onnx"))

    def tensor_ranges(self) -> dict[str, float]:
        """ONNX tensor -> range of what the plan quantizes, shared ranges included."""
        found = {}
        for trained, tensor in self.deployed.trained_tensors.items():
            source = self.plan.range_source(trained)
            if source is not None:
                found[tensor] = self.ranges[source]
        return found

    def explicit(self) -> Int8Scheme:
        return from_qdq(parse(self.qdq))

    def implicit(self, more: Mapping[str, float] | None = None) -> Int8Scheme:
        """The scheme with the cache of the plan's ranges, completed by `more`, tensor -> range."""
        return from_cache(parse(self.clean), from_ranges({**(more or {}), **self.tensor_ranges()}).scales)

    def expected(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coverage and bbox by plain integer arithmetic."""
        ranges = {self.deployed.origin[name]: amax for name, amax in self.ranges.items()}
        kernels = [name for name in self.plan.weights if name in self.deployed.graph]
        values = evaluate(self.deployed.graph, images, ranges, kernels)
        return nchw(values["output_cov/Sigmoid"]), nchw(values["output_bbox"])


def images_for(graph: Graph, count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, *graph.input.shape)).astype(np.float32)


def exported(
    net: Net, mode: Placement = "tensorrt", *, clip: float = 1.0, seed: int = 0, qat: bool = False
) -> Exported:
    """Export `net` with ranges of `clip` times the largest magnitudes on random images.

    qat: with biases as quantization-aware training leaves them.
    """
    graph = net.graph(seed=seed)
    plan = place(graph, mode)
    values = evaluate(graph, images_for(graph))
    ranges = {name: clip * float(np.abs(values[name]).max()) for name in plan.activations}
    if qat:
        graph = snap_biases_to_grid(graph, plan, ranges)
    deployed = deploy(graph)
    return Exported(
        graph, plan, ranges, deployed, to_onnx(deployed, METADATA), to_qdq_onnx(deployed, plan, ranges, METADATA)
    )
