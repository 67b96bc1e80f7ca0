"""What runs in INT8, and which missing scales matter."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from qatkit.engine.int8.emit import Band, product_name
from qatkit.engine.int8.graph import parse
from qatkit.engine.int8.report import Int8Report, integer_operations, make_report, without_scale
from qatkit.engine.int8.scheme import from_cache
from qatkit.graph import nodes as n
from tests.support.exported import NETWORKS, exported
from tests.support.networks import Net, residual

HEADS = ("output_bbox/BiasAdd:0", "output_cov/BiasAdd:0", "output_cov/Sigmoid:0")
INNER = (
    *("stem_bn/batchnorm/add_1:0", "a_bn/batchnorm/add_1:0", "b_bn/batchnorm/add_1:0"),
    "sum/add:0",
)


def report_of(net: Net, without: tuple[str, ...], *, complete: bool) -> Int8Report:
    """The report with the cache of the plan's ranges, `complete`: of all tensors, but for those `without`."""
    export = exported(net)
    ranges = export.tensor_ranges()
    if complete:
        ranges = dict.fromkeys(export.deployed.tensors.values(), 4.0) | ranges
    scales = {name: amax / 127 for name, amax in ranges.items() if name not in without}
    return make_report(
        from_cache(parse(export.clean), scales),
        {},
        without_scale(export.clean_file, scales),
    )


@pytest.mark.parametrize(
    "complete, without, missing, fused",
    [
        (True, (), (), ()),
        # A QAT cache: what is inside of fused kernels has no scale, and the heads stay float.
        (False, (), HEADS, INNER),
        (True, INNER, (), INNER),
        # The head is one INT8 kernel up to its sigmoid ...
        (True, ("output_cov/BiasAdd:0",), (), ("output_cov/BiasAdd:0",)),
        # ... but not without a scale of the end.
        (True, ("output_cov/Sigmoid:0",), ("output_cov/Sigmoid:0",), ()),
        # The activation is not fused then, nor is it INT8.
        (True, ("a_relu/Relu:0",), ("a_relu/Relu:0",), ()),
        # The convolution is float, and so is what was inside of it.
        (True, ("a_relu/Relu:0", INNER[1]), (INNER[1], "a_relu/Relu:0"), ()),
        (True, ("input_1:0",), ("input_1:0",), ()),
    ],
)
def test_missing_scales_matter_where_they_are_not_inside_a_fused_kernel(
    complete: bool, without: tuple[str, ...], missing: tuple[str, ...], fused: tuple[str, ...]
) -> None:
    report = report_of(residual(projection=True), without, complete=complete)
    assert (report.missing_scales, report.fused) == (missing, fused)


def sum_of_activations() -> Net:
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 4)
    net.heads(net.add_relu("sum", net.conv_bn_relu("a", stem, 4), stem))
    return net


def swish() -> Net:
    net = Net()
    net.heads(net.add(n.Swish("a_swish", (net.conv_bn("a", net.input, 8),))))
    return net


@pytest.mark.parametrize(
    "net, fused",
    [
        # A sum that rides on no convolution is an INT8 kernel together with its activation.
        (sum_of_activations(), {"sum/add:0"}),
        (swish(), {"a_bn/batchnorm/add_1:0", "a_swish/gate:0"}),
        # A max-pool inherits the scale of what it reads.
        (NETWORKS["max-pool"](), set()),
    ],
)
def test_kernels_of_other_networks(net: Net, fused: set[str]) -> None:
    report = report_of(net, (), complete=False)
    assert fused <= set(report.fused)
    assert report.missing_scales == HEADS


def test_the_scale_of_a_pool_is_inherited() -> None:
    net = NETWORKS["max-pool"]()
    pools = tuple(name for name in exported(net).tensor_ranges() if "MaxPool" in name)
    assert len(pools) == 1
    report = report_of(net, pools, complete=True)
    assert (report.missing_scales, report.fused) == ((), ())


def test_a_scale_of_zero_is_none() -> None:
    export = exported(residual(projection=True))
    scales = dict.fromkeys(export.deployed.tensors.values(), 0.1) | {"sum/add:0": 0.0}
    assert without_scale(export.clean_file, scales) == ["sum/add:0"]


def test_all_integer_operations_count_and_float_ones_do_not(tmp_path: Path) -> None:
    kinds = ("Conv", "QLinearConv", "MatMulIntegerToFloat", "QLinearConv", "Relu", "DynamicQuantizeMatMul")
    names = [product_name(f"y{number}") for number in range(len(kinds))]
    bands = [product_name("y2", Band(start, start + 4)) for start in (4, 8)]
    nodes = [helper.make_node(kind, ["x"], [name], name=name) for kind, name in zip(kinds, names)]
    nodes += [helper.make_node("MatMulIntegerToFloat", ["x"], [name], name=name) for name in bands]
    onnx.save(helper.make_model(helper.make_graph(nodes, "optimized", [], [])), tmp_path / "optimized.onnx")
    assert integer_operations(tmp_path / "optimized.onnx") == {
        "QLinearConv": 2,
        "MatMulIntegerToFloat": 1,
        "DynamicQuantizeMatMul": 1,
    }
