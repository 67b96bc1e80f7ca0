"""The network as deployed: folded, merged, named."""

from __future__ import annotations

import pytest

from qatkit.errors import ModelError
from qatkit.export.deployed import deploy
from qatkit.graph import nodes as n
from tests.support.networks import Net, residual


def test_a_folded_convolution_bears_the_name_of_its_batch_norm() -> None:
    deployed = deploy(residual(projection=True).graph())
    assert deployed.tensors == {
        "input_1": "input_1:0",
        "stem": "stem_bn/batchnorm/add_1:0",
        "stem_relu": "stem_relu/Relu:0",
        "a": "a_bn/batchnorm/add_1:0",
        "a_relu": "a_relu/Relu:0",
        "b": "b_bn/batchnorm/add_1:0",
        "shortcut": "shortcut_bn/batchnorm/add_1:0",
        "sum": "sum/add:0",
        "sum_relu": "sum_relu/Relu:0",
        "output_bbox": "output_bbox/BiasAdd:0",
        "output_cov": "output_cov/BiasAdd:0",
        "output_cov/Sigmoid": "output_cov/Sigmoid:0",
    }
    assert deployed.trained_tensors["a_bn"] == "a_bn/batchnorm/add_1:0"
    assert "a" not in deployed.trained_tensors


def test_padding_that_only_convolutions_read_becomes_theirs() -> None:
    net = Net()
    pad = net.add(n.Pad("pad", (net.input,), padding=(0, 0, 1, 2)))
    net.heads(net.relu("relu", net.conv("a", pad, 4)))
    deployed = deploy(net.graph())
    conv = deployed.graph["a"]
    assert isinstance(conv, n.Conv2D)
    assert (conv.inputs, conv.padding) == (("input_1",), (1, 1, 2, 3))
    assert "pad" not in deployed.graph
    assert "pad" not in deployed.trained_tensors


def test_padding_that_something_else_reads_stays() -> None:
    net = Net()
    pad = net.add(n.Pad("pad", (net.input,), padding=(0, 0, 1, 1)))
    net.heads(net.concat("join", net.relu("relu", net.conv("a", pad, 4)), pad))
    assert "pad" in deploy(net.graph()).graph


def test_two_tensors_of_one_name_are_refused() -> None:
    net = Net()
    first = net.relu("a", net.conv("c", net.input, 4))
    net.heads(net.relu("a/Relu", first))
    with pytest.raises(ModelError, match="two layers would make the tensor a/Relu:0"):
        deploy(net.graph())
