"""What a single flipped code does to an output, below which no tolerance of a quantized network means anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qatkit.graph.graph import Graph


def one_code(graph: Graph, ranges: Mapping[str, float], layer: str) -> float:
    """The most by which one code of what the convolution `layer` reads moves its output; 0 where that is float.

    Where the outputs of a network cancel out to next to nothing (1e-7), this is what they are exact to.
    """
    (source,) = graph[layer].inputs
    return float(ranges.get(source, 0.0) / 127 * np.abs(graph.weight(layer, "kernel")).max())
