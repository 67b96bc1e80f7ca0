"""Networks with one kind of block each, by how backbones use it, and one with every kind of node."""

from __future__ import annotations

from qatkit.graph import nodes as n
from tests.support.networks import Net


def conv_relu() -> Net:
    net = Net()
    net.heads(net.relu("a_relu", net.conv("a", net.input, 4, bias=True)))
    return net


def conv_bn_relu() -> Net:
    net = Net()
    net.heads(net.conv_bn_relu("a", net.input, 4))
    return net


def linear_then_conv() -> Net:
    """A linear bottleneck: Conv-BN read by the next convolution."""
    net = Net()
    net.heads(net.conv_bn_relu("b", net.conv_bn("a", net.input, 4), 4))
    return net


def max_pool() -> Net:
    net = Net()
    net.heads(net.conv_bn_relu("b", net.max_pool("pool", net.conv_bn_relu("a", net.input, 4)), 4))
    return net


def pool_of_image() -> Net:
    net = Net()
    net.heads(net.conv_bn_relu("a", net.max_pool("pool", net.input), 4))
    return net


def concat() -> Net:
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 4)
    joined = net.concat("join", net.conv_bn_relu("a", stem, 4, 1), net.conv_bn_relu("b", stem, 4))
    net.heads(net.conv_bn_relu("c", joined, 4))
    return net


def concat_of_read_branch() -> Net:
    """A dense block: branch `a` is read by the Concat and by `b`."""
    net = Net()
    first = net.conv_bn_relu("a", net.input, 4)
    net.heads(net.conv_bn_relu("c", net.concat("join", first, net.conv_bn_relu("b", first, 4)), 4))
    return net


def padded() -> Net:
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 4)
    padded = net.add(n.Pad("pad", (stem,), padding=(0, 0, 1, 1)))
    net.heads(net.relu("dw_relu", net.bn("dw_bn", net.depthwise("dw", padded))))
    return net


def average() -> Net:
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 4)
    net.heads(net.add(n.AvgPool("mean", (stem,), (2, 2), (2, 2))))
    return net


def add_of_activations() -> Net:
    """DarkNet's residual: the branch ends in an activation, so no convolution can take the sum in."""
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 4)
    total = net.add(n.Add("sum", (net.conv_bn_relu("a", stem, 4), stem)))
    net.heads(net.conv_bn_relu("b", total, 4))
    return net


def pre_activation() -> Net:
    """ResNet v2: a batch norm without a convolution before it."""
    net = Net()
    stem = net.conv("stem", net.input, 4)
    branch = net.conv("a", net.relu("pre_relu", net.bn("pre_bn", stem)), 4)
    net.heads(net.add_relu("sum", stem, branch))
    return net


def squeeze_excite() -> Net:
    net = Net()
    stem = net.add(n.Swish("stem_swish", (net.conv_bn("stem", net.input, 4),)))
    squeezed = net.add(n.GlobalAvgPool("squeeze", (stem,)))
    gate = net.add(n.Sigmoid("expand/Sigmoid", (net.conv("expand", squeezed, 4, 1, bias=True),)))
    net.heads(net.conv_bn_relu("project", net.add(n.Multiply("excite", (stem, gate))), 4))
    return net


def relu6() -> Net:
    net = Net()
    net.heads(net.add(n.Relu6("a_relu", (net.conv_bn("a", net.input, 8),))))
    return net


def leaky() -> Net:
    """DarkNet: signed tensors read by convolutions."""
    net = Net()
    first = net.add(n.LeakyRelu("a_leaky", (net.conv_bn("a", net.input, 8, stride=2),), alpha=0.1))
    net.heads(net.add(n.LeakyRelu("b_leaky", (net.conv_bn("b", first, 8),), alpha=0.1)))
    return net


def linear_depthwise() -> Net:
    """MobileNet v2: a signed tensor read by a depthwise convolution, which is rounded without an activation."""
    net = Net()
    first = net.conv_bn("a", net.input, 8)
    net.heads(net.conv_bn_relu("c", net.bn("dw_bn", net.depthwise("dw", first, stride=2)), 8, 1))
    return net


def bottleneck() -> Net:
    """ResNet-50: the sum rides on a 1x1 convolution; stride 2 in a fused branch and in the projection."""
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 8)
    main = net.conv_bn("c", net.conv_bn_relu("b", net.conv_bn_relu("a", stem, 4, 1), 4, 3, 2), 16, 1)
    first = net.add_relu("sum", main, net.conv_bn("shortcut", stem, 16, 1, 2))
    strided = net.conv_bn("e", net.conv_bn_relu("d", first, 8), 16, 3, 2)
    net.heads(net.add_relu("sum2", net.conv_bn("shortcut2", first, 16, 1, 2), strided))
    return net


def dilated() -> Net:
    net = Net()
    stem = net.conv_bn_relu("stem", net.input, 8)
    wide = n.Conv2D("wide", (stem,), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), filters=8, use_bias=True)
    net.heads(net.add_relu("sum", net.add(wide), stem))
    return net


def zoo() -> Net:
    """One network with every kind of node; max-pools over tensors with and without negative values."""
    net = Net(height=18, width=20)
    x = net.add(n.Pad("image_pad", (net.input,), padding=(0, 1, 1, 2)))
    x = net.conv_bn_relu("stem", x, 8)
    x = net.max_pool("pool_signed", net.conv("linear", x, 8), 3, 2, padding=1)
    x = net.max_pool("pool", net.relu("relu", x), 3, 1, padding=1)
    x = net.add(n.Relu6("relu6", (net.bn("dw_bn", net.depthwise("dw", x, 3)),)))
    x = net.add(n.LeakyRelu("leaky", (net.bn("free_bn", x),), alpha=0.1))
    gate = net.add(n.Sigmoid("gate", (net.conv("gate_conv", net.add(n.GlobalAvgPool("squeeze", (x,))), 8, 1),)))
    x = net.add(n.Multiply("excite", (x, gate)))
    x = net.add(n.Swish("swish", (net.conv_bn("before_swish", x, 8),)))
    small = net.add(n.AvgPool("mean", (x,), (3, 3), (2, 2), (1, 1, 1, 1)))
    large = net.add(n.Upsample("up", (small,), factors=(2, 2)))
    x = net.add(n.Add("triple", (large, large, large)))
    x = net.add(n.Conv2D("dilated", (net.concat("join", x, large),), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), filters=8))
    net.heads(net.add(n.Pad("pad", (x,), padding=(1, 1, 0, 0))))
    return net
