"""One INT8 kernel at a time."""

from __future__ import annotations

import pytest

from qatkit.graph.nodes import AvgPool
from qatkit.quantization.kernels import Kernel, int8_kernels, only
from qatkit.quantization.placement import place
from tests.support.networks import Net, residual

STEM = Kernel(("stem", "stem_bn", "stem_relu"), ("input_1",), ("stem",))
A = Kernel(("a", "a_bn", "a_relu"), ("stem_relu",), ("a",))
SUM = Kernel(("b", "b_bn", "sum", "sum_relu"), ("a_relu", "stem_relu"), ("b", "sum"))
SHORTCUT = Kernel(("shortcut", "shortcut_bn"), ("stem_relu",), ("shortcut",))


def pooled() -> Net:
    net = Net()
    stem = net.max_pool("pool", net.conv_bn_relu("stem", net.input, 8))
    average = net.add(AvgPool("average", (stem,), (2, 2), (2, 2)))
    net.heads(net.concat("both", net.conv("c", average, 4), net.conv("d", average, 4)))
    return net


@pytest.mark.parametrize(
    "projection, mode, expected",
    [
        (False, "tensorrt", [STEM, A, SUM]),
        (
            True,
            "tensorrt",
            [STEM, A, Kernel(("b", "b_bn", "sum", "sum_relu"), ("a_relu", "shortcut_bn"), ("b", "sum")), SHORTCUT],
        ),
        (
            True,
            "tao",
            [
                *(STEM, A, Kernel(("b", "b_bn"), ("a_relu",), ("b",)), SHORTCUT),
                Kernel(("sum", "sum_relu"), ("b_bn", "shortcut_bn"), ("sum",)),
            ],
        ),
    ],
)
def test_kernels(projection: bool, mode: str, expected: list[Kernel]) -> None:
    graph = residual(projection=projection).graph()
    assert list(int8_kernels(graph, place(graph, mode))) == expected  # type: ignore[arg-type]


def test_a_skipped_layer_has_no_kernel() -> None:
    graph = residual(projection=False).graph()
    assert list(int8_kernels(graph, place(graph, skip=SUM.skip))) == [STEM, A]


def test_only_one_kernel_of_a_plan() -> None:
    graph = residual(projection=True).graph()
    plan = place(graph)
    kept = {kernel.name: only(plan, kernel) for kernel in int8_kernels(graph, plan)}
    assert {name: (one.activations, one.weights) for name, one in kept.items()} == {
        "stem": (("input_1", "stem_relu"), ("stem",)),
        "a": (("stem_relu", "a_relu"), ("a",)),
        "b": (("a_relu", "shortcut_bn", "sum_relu"), ("b",)),
        "shortcut": (("stem_relu", "shortcut_bn"), ("shortcut",)),
    }


def test_what_shares_a_range_goes_with_it() -> None:
    graph = pooled().graph()
    plan = place(graph)
    kept = {kernel.name: only(plan, kernel) for kernel in int8_kernels(graph, plan)}
    assert list(kept) == ["stem", "average", "c", "d"]
    assert (kept["stem"].activations, dict(kept["stem"].shared)) == (("input_1", "stem_relu"), {"pool": "stem_relu"})
    assert (kept["average"].activations, kept["average"].weights) == (("stem_relu", "average"), ())
    # The branches of a Concat are rounded behind it.
    assert (kept["c"].activations, kept["c"].weights) == (("average", "both"), ("c",))
