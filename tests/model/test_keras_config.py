"""Keras's descriptions of layers -> nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qatkit.errors import ModelError
from qatkit.graph import nodes
from qatkit.graph.nodes import Node
from qatkit.model.keras_config import read_network
from tests.support.keras_files import Description, tiny_description

IN = ("input_1",)


def read(build: Callable[[Description], str]) -> Node:
    """The node that carries the output of the layer that `build` adds last."""
    net = Description()
    network = read_network(net.model(build(net)))
    return next(node for node in network.nodes if node.name == network.outputs[0])


def conv(filters: Any = 5, **config: Any) -> Callable[[Description], str]:
    return lambda net: net.conv("c", "input_1", filters, 3, **config)


def layer(kind: str, **config: Any) -> Callable[[Description], str]:
    return lambda net: net.add(kind, "n", "input_1", **config)


@pytest.mark.parametrize(
    "build, node",
    [
        (conv(), nodes.Conv2D("c", IN, (3, 3), (1, 1), (1, 1, 1, 1), filters=5)),
        (conv(padding="valid", use_bias=False), nodes.Conv2D("c", IN, (3, 3), filters=5, use_bias=False)),
        (
            conv(strides=[2, 1], dilation_rate=[2, 1]),
            nodes.Conv2D("c", IN, (3, 3), (2, 1), (2, 1, 2, 1), (2, 1), filters=5),
        ),
        (conv(activation="sigmoid"), nodes.Sigmoid("c/Sigmoid", ("c",))),
        (
            lambda net: net.conv("d", "input_1", 0, 3, kind="DepthwiseConv2D", use_bias=False),
            nodes.DepthwiseConv2D("d", IN, (3, 3), (1, 1), (1, 1, 1, 1)),
        ),
        (
            lambda net: net.batch_norm("b", "input_1", epsilon=0.01),
            nodes.BatchNorm("b", IN, epsilon=0.01, momentum=0.9),
        ),
        (layer("Activation", activation="relu"), nodes.Relu("n", IN)),
        (layer("Activation", activation="swish"), nodes.Swish("n", IN)),
        (layer("Activation", activation="linear"), nodes.Input("input_1", (), (16, 24, 3))),
        (layer("ReLU", max_value=None, negative_slope=0.0, threshold=0.0), nodes.Relu("n", IN)),
        (layer("ReLU", max_value=6.0, negative_slope=0.0, threshold=0.0), nodes.Relu6("n", IN)),
        (layer("ReLU", max_value=None, negative_slope=0.25, threshold=0.0), nodes.LeakyRelu("n", IN, alpha=0.25)),
        (layer("LeakyReLU", alpha=0.1), nodes.LeakyRelu("n", IN, alpha=0.1)),
        (
            layer("MaxPooling2D", pool_size=[3, 3], strides=[2, 2], padding="same"),
            nodes.MaxPool("n", IN, (3, 3), (2, 2), (1, 1, 1, 1)),
        ),
        (
            layer("AveragePooling2D", pool_size=[2, 2], strides=[2, 2], padding="same"),
            nodes.AvgPool("n", IN, (2, 2), (2, 2)),
        ),
        (layer("GlobalAveragePooling2D"), nodes.GlobalAvgPool("n", IN)),
        (layer("ZeroPadding2D", padding=[[1, 2], [3, 4]]), nodes.Pad("n", IN, (1, 3, 2, 4))),
        (layer("UpSampling2D", size=[2, 3]), nodes.Upsample("n", IN, (2, 3))),
        (layer("Dropout", rate=0.5), nodes.Input("input_1", (), (16, 24, 3))),
        (layer("QDQ", bitwidth=8), nodes.Input("input_1", (), (16, 24, 3))),
        (lambda net: net.add("Add", "s", "input_1", "input_1"), nodes.Add("s", IN * 2)),
        (lambda net: net.add("Multiply", "s", "input_1", "input_1"), nodes.Multiply("s", IN * 2)),
        (lambda net: net.add("Concatenate", "s", "input_1", "input_1", axis=1), nodes.Concat("s", IN * 2)),
        (
            lambda net: net.add(
                "Reshape", "r", net.add("GlobalAveragePooling2D", "g", "input_1"), target_shape=[-1, 1, 1]
            ),
            nodes.GlobalAvgPool("g", IN),
        ),
    ],
)
def test_layers(build: Callable[[Description], str], node: Node) -> None:
    assert read(build) == node


def test_channels_last() -> None:
    net = Description((16, 24, 3))
    name = net.conv("c", "input_1", 5, 3, data_format="channels_last")
    network = read_network(net.model(net.batch_norm("b", name, axis=3)))
    assert network.nodes[0] == nodes.Input("input_1", (), (16, 24, 3))


def test_frozen_batch_norm() -> None:
    net = Description()
    net.batch_norm("b", "input_1")
    net.layers[-1]["inbound_nodes"] = [[["input_1", 0, 0, {"training": False}]]]
    assert read_network(net.model("b")).nodes[-1] == nodes.BatchNorm("b", IN, momentum=0.9, frozen=True)


def test_quantizers_are_passed_and_remembered() -> None:
    network = read_network(tiny_description(quantized=True))
    assert network.qdq == {"input_1_qdq": "input_1", "relu_qdq": "relu"}
    assert network.quantized_kernels == ("conv1",)
    assert [node.op for node in network.nodes] == [
        *("Input", "Conv2D", "BatchNorm", "Relu6", "Conv2D", "Conv2D", "Sigmoid")
    ]
    assert [node.name for node in network.nodes] == [
        *("input_1", "conv1", "bn", "relu", "output_bbox", "output_cov", "output_cov/Sigmoid")
    ]
    assert network.nodes[1].inputs == ("input_1",)
    assert network.nodes[4].inputs == ("relu",)


def test_a_tensor_that_is_quantized_twice_is_two_nodes() -> None:
    """Behind a Dropout TAO quantizes again, with another range."""
    net = Description()
    once = net.add("QDQ", "input_1_qdq", "input_1", bitwidth=8)
    twice = net.add("QDQ", "drop_qdq", net.add("Dropout", "drop", once, rate=0.5), bitwidth=8)
    net.add("Activation", "relu", twice, activation="relu")
    network = read_network(net.model("relu"))
    assert network.qdq == {"input_1_qdq": "input_1", "drop_qdq": "drop_qdq"}
    assert network.nodes[1:] == (nodes.Concat("drop_qdq", ("input_1",)), nodes.Relu("relu", ("drop_qdq",)))


def test_a_convolution_with_a_quantizer_of_its_own() -> None:
    net = Description()
    net.add("Activation", "relu", "input_1", activation="relu")
    net.conv("q", "relu", 0, 3, kind="QuantizedDepthwiseConv2D", quantize=True, bitwidth=8)
    network = read_network(net.model("q"))
    assert network.quantized_inputs == {"q": "relu"}
    assert isinstance(network.nodes[-1], nodes.DepthwiseConv2D)


@pytest.mark.parametrize(
    "build, message",
    [
        (layer("Lambda", function="x"), "layer n (Lambda): layers of this type cannot be read"),
        (layer("Dense", units=3), "layers of this type cannot be read"),
        (layer("Activation", activation="tanh"), "the activation tanh cannot be read"),
        (layer("Activation", activation={"class_name": "Evil"}), "cannot be read"),
        (layer("ReLU", max_value=4.0), "max_value 4.0 with slope 0.0 cannot be read"),
        (layer("ReLU", threshold=1.0), "threshold 1.0 cannot be read"),
        (layer("QDQ", bitwidth=4), "4 bits cannot be read"),
        (layer("UpSampling2D", size=[2, 2], interpolation="bilinear"), "nearest"),
        (layer("Reshape", target_shape=[3, 1, 1]), "reshaping to [3, 1, 1] cannot be read"),
        (layer("Concatenate", axis=2), "axis 2 is not the channels"),
        (conv(padding="causal"), "padding causal cannot be read"),
        (conv(strides="2"), "strides should be two numbers, found 2"),
        (conv(strides=[0, 0]), "strides should lie within 1 and 1024"),
        (conv(filters="5"), "filters should be int"),
        (
            lambda net: net.conv("d", "input_1", 0, 3, kind="DepthwiseConv2D", depth_multiplier=2),
            "depth_multiplier 1",
        ),
        (lambda net: net.conv("d", "input_1", 0, 3, kind="DepthwiseConv2D", strides=[2, 2]), "with a stride"),
        (lambda net: net.batch_norm("b", "input_1", scale=False), "with gamma and beta"),
        (lambda net: net.batch_norm("b", "input_1", axis=3), "axis 3 is not the channels"),
        (lambda net: net.add("Add", "s", "nowhere"), "damaged: KeyError 'nowhere'"),
    ],
)
def test_layers_that_cannot_be_read(build: Callable[[Description], str], message: str) -> None:
    with pytest.raises(ModelError) as error:
        read(build)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.update(class_name="Sequential"), "a Sequential is not a network that can be read"),
        (lambda d: d.pop("config"), "damaged: KeyError 'config'"),
        (lambda d: d["config"].update(layers=None), "damaged: TypeError"),
        (lambda d: d["config"].update(output_layers=[["x", 0, 0]]), "damaged: KeyError 'x'"),
        (lambda d: d["config"]["layers"][1]["inbound_nodes"].append([]), "used 2 times"),
        (lambda d: d["config"]["layers"][0]["config"].update(batch_input_shape=[None, 3, None, 8]), "not fixed"),
        (lambda d: d["config"].update(layers=[{}] * 10_001), "10001 layers"),
    ],
)
def test_descriptions_that_make_no_sense(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    description = tiny_description()
    change(description)
    with pytest.raises(ModelError) as error:
        read_network(description)
    assert message in str(error.value)


@pytest.mark.parametrize("description", [None, [], "text", 3])
def test_what_is_no_description(description: Any) -> None:
    with pytest.raises(ModelError, match="damaged"):
        read_network(description)
