"""The widened detector of examples/ptq_collapse computes what it did, in other ranges."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from numpy.testing import assert_array_equal

from tests.support.networks import Net
from tests.support.reference import evaluate

WIDEN = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "ptq_collapse" / "widen.py"))["widen"]


def network() -> Net:
    """Conv-BN-ReLU read by one convolution, by two, by a sum as well, and by the heads."""
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 16)
    inner = net.conv_bn_relu("inner", stem, 16)
    first = net.add_relu("sum", net.conv_bn("a", inner, 16), net.conv_bn("shortcut", stem, 16))
    shared = net.conv_bn_relu("shared", first, 16)
    net.heads(net.conv_bn_relu("last", net.add_relu("sum2", net.conv_bn("b", shared, 16), shared), 8))
    return net


def test_the_network_computes_the_same_bit_for_bit_with_wider_ranges() -> None:
    graph = network().graph()
    wide, names = WIDEN(graph, 64, np.random.default_rng(0))
    assert names == ["stem_relu", "inner_relu"]
    images = np.random.default_rng(1).random((2, *graph.input.shape), np.float32)
    before, after = evaluate(graph, images), evaluate(wide, images)
    for name in before:
        if name.partition("_")[0] not in ("stem", "inner"):
            assert_array_equal(after[name], before[name], err_msg=name)
    for name in names:
        peaks = before[name].max(axis=(0, 1, 2))
        factors = after[name].max(axis=(0, 1, 2))[peaks > 0] / peaks[peaks > 0]
        assert set(factors) <= {2.0**power for power in range(7)} and len(set(factors)) > 3


def test_no_room_to_widen_leaves_the_network_as_it_is() -> None:
    graph = network().graph()
    same, _ = WIDEN(graph, 1, np.random.default_rng(0))
    for name, array in graph.weights.items():
        assert_array_equal(same.weights[name], array)
