"""What a DLA cannot run, at the edges of its documented limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qatkit.export.deployed import deploy
from qatkit.export.dla import beyond_dla
from qatkit.graph import nodes as n
from tests.support.networks import Net, residual


def problems(net: Net, **ranges: float) -> list[str]:
    """All tensors have the range 1 but for the `ranges` of nodes."""
    deployed = deploy(net.graph())
    by_tensor = {tensor: ranges.get(node, 1.0) for node, tensor in deployed.tensors.items()}
    return beyond_dla(deployed, by_tensor)


def with_conv(**fields: Any) -> Net:
    net = Net(64, 64)
    net.heads(net.relu("relu", net.add(n.Conv2D("conv", (net.input,), filters=2, **fields))))
    return net


def with_pool(kind: type[n.MaxPool] | type[n.AvgPool] = n.MaxPool, **fields: Any) -> Net:
    net = Net(64, 64)
    net.heads(net.add(kind("pool", (net.relu("relu", net.conv("conv", net.input, 2)),), **fields)))
    return net


@pytest.mark.parametrize(
    "make, fields, found",
    [
        (with_conv, {}, []),
        (with_conv, {"kernel_size": (32, 1)}, []),
        (with_conv, {"kernel_size": (33, 1)}, ["conv: kernel_size 33x1, a DLA takes 1 to 32"]),
        (with_conv, {"strides": (8, 8)}, []),
        (with_conv, {"strides": (2, 9)}, ["conv: strides 2x9, a DLA takes 1 to 8"]),
        (with_conv, {"kernel_size": (2, 2), "dilation": (32, 32)}, []),
        (with_conv, {"kernel_size": (2, 2), "dilation": (1, 33)}, ["conv: dilation 1x33, a DLA takes 1 to 32"]),
        (with_conv, {"kernel_size": (3, 5), "padding": (2, 4, 2, 4)}, []),
        (
            with_conv,
            {"kernel_size": (3, 5), "padding": (0, 0, 3, 0)},
            ["conv: padding 0x0x3x0, on a DLA smaller than the kernel"],
        ),
        (with_pool, {"kernel_size": (8, 8), "padding": (7, 7, 7, 7), "strides": (16, 16)}, []),
        (with_pool, {"kernel_size": (9, 2)}, ["pool: kernel_size 9x2, a DLA takes 1 to 8"]),
        (with_pool, {"strides": (17, 1)}, ["pool: strides 17x1, a DLA takes 1 to 16"]),
    ],
)
def test_windows(make: Callable[..., Net], fields: dict[str, Any], found: list[str]) -> None:
    assert problems(make(**fields)) == found


@pytest.mark.parametrize("kind", [n.MaxPool, n.AvgPool])
def test_pools_need_one_range(kind: type[n.MaxPool] | type[n.AvgPool]) -> None:
    net = with_pool(kind, kernel_size=(2, 2))
    assert problems(net) == []
    assert problems(net, pool=0.5) == [
        "pool: its input and its output have different ranges, a DLA pools in INT8 within one"
    ]


@pytest.mark.parametrize("width, count", [(8192, 0), (8208, 8)])
def test_the_largest_tensor(width: int, count: int) -> None:
    net = Net(1, width)
    net.heads(net.relu("relu", net.conv("conv", net.input, 2, 1)))
    found = problems(net)
    assert all(line.endswith(f": {width} rows, columns or channels, a DLA takes 8192") for line in found)
    assert len(found) == (0 if count == 0 else len(deploy(net.graph()).graph.nodes))


def test_a_residual_network_is_within_the_limits() -> None:
    assert problems(residual(projection=True)) == []
