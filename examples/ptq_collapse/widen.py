"""Widen the ranges of a trained detector without changing what it computes: MODEL.tlt -> OUT.tlt.

    python examples/ptq_collapse/widen.py MODEL.tlt OUT.tlt --widest 256 --seed 0

Where a ReLU is read by convolutions only, each of its channels is multiplied by a power of two between 1 and --widest
(gamma and beta of the batch norm before it), and the kernels behind it are divided by the same. ReLU commutes with
positive factors and powers of two round nothing, so the float network computes the same, bit for bit. An INT8 tensor
has one scale for all its channels: the widest ones take it, the narrow ones keep a few of the 127 codes. Networks get
there by themselves too (depthwise ones above all); the other direction is known as weight equalization
(Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qatkit.graph.graph import Graph
from qatkit.graph.nodes import BatchNorm, Conv2D, Relu
from qatkit.model.file import save_model
from qatkit.model.open import open_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-k", "--key", default="", help="pass-phrase of both files")
    parser.add_argument("--widest", type=int, default=256, help="largest factor, a power of two")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = open_model(args.model, args.key)
    graph, widened = widen(model.graph, args.widest, np.random.default_rng(args.seed))
    save_model(args.out, replace(model, graph=graph), args.key or None)
    print(f"{len(widened)} tensors widened up to {args.widest} times: {', '.join(widened)}")


def widen(graph: Graph, widest: int, rng: np.random.Generator) -> tuple[Graph, list[str]]:
    """`graph` with wider ranges, and the names of the ReLUs whose outputs they are of."""
    weights = {name: array.copy() for name, array in graph.weights.items()}
    widened = []
    for relu, norm, readers in scalable(graph):
        factors = np.float32(2) ** rng.integers(0, widest.bit_length(), graph.shape(relu)[2]).astype(np.float32)
        _multiply(weights, [f"{norm}/gamma", f"{norm}/beta"], factors)
        _multiply(weights, [f"{reader}/kernel" for reader in readers], 1 / factors[:, None])
        widened.append(relu)
    return graph.with_weights(weights), widened


def scalable(graph: Graph) -> Iterator[tuple[str, str, list[str]]]:
    """ReLU, the batch norm that it alone reads, and the convolutions that alone read it."""
    readers = graph.consumers()
    for relu in graph.nodes:
        if not isinstance(relu, Relu) or not isinstance(graph[relu.inputs[0]], BatchNorm):
            continue
        behind = readers[relu.name]
        hidden = [node for node in behind if isinstance(node, Conv2D) and node.name not in graph.heads]
        if len(readers[relu.inputs[0]]) == 1 and behind and len(hidden) == len(behind):
            yield relu.name, relu.inputs[0], [node.name for node in behind]


def _multiply(weights: dict[str, NDArray[np.float32]], names: list[str], factors: NDArray[np.float32]) -> None:
    """Kernels are HWIO: factors [I, 1] scale their input channels."""
    for name in names:
        weights[name] = weights[name] * factors


if __name__ == "__main__":
    main()
