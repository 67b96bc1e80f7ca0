"""The integer network equals plain integer arithmetic in NumPy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper

from qatkit.engine.int8 import conv
from qatkit.engine.int8.lowering import lower
from qatkit.engine.int8.probe import wide_codes_are_exact
from qatkit.engine.int8.scheme import Int8Scheme
from qatkit.engine.onnx_runtime import OnnxEngine
from qatkit.engine.session import open_session
from qatkit.graph import nodes as n
from qatkit.graph.graph import Graph
from tests.support.exported import NETWORKS, OUTPUTS, Exported, exported, images_for
from tests.support.networks import Net

needs_vnni = pytest.mark.skipif(
    not wide_codes_are_exact(), reason="codes up to 255 overflow on this CPU, which therefore never gets them"
)
WIDE = [pytest.param(True, marks=needs_vnni, id="wide"), pytest.param(False, id="narrow")]


def run(export: Exported, scheme: Int8Scheme, images: np.ndarray, *, wide: bool) -> tuple[np.ndarray, np.ndarray]:
    engine = OnnxEngine(lower(scheme, wide_codes=wide), export.info, OUTPUTS, nhwc=True, threads=1)
    return engine.predict(images)


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("clip", [1.0, 0.4], ids=["whole range", "clipped"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_equals_integer_arithmetic(name: str, clip: float, wide: bool) -> None:
    export = exported(NETWORKS[name](), clip=clip)
    images = images_for(export.graph, 2, seed=1)
    for scheme in (export.explicit(), export.implicit()):
        cov, bbox = run(export, scheme, images, wide=wide)
        expected_cov, expected_bbox = export.expected(images)
        # One different code anywhere would show as 1e-3 or more.
        assert_allclose(cov, expected_cov, atol=2e-5)
        assert_allclose(bbox, expected_bbox, atol=2e-5 * np.abs(expected_bbox).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_bands_of_rows_and_wider_pixels_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps large images in the cache: the same bits as without it, which small images are computed."""
    export = exported(NETWORKS[name]())
    images = images_for(export.graph, 2, seed=1)
    monkeypatch.setattr(conv, "_FEW_CHANNELS", 0)
    plain = run(export, export.explicit(), images, wide=False)
    monkeypatch.setattr(conv, "_FEW_CHANNELS", 8)
    for size in (1, 1000):  # bytes: single rows, a few at a time
        monkeypatch.setattr(conv, "_BAND_BYTES", size)
        banded = run(export, export.explicit(), images, wide=False)
        for found, expected in zip(banded, plain):
            assert_array_equal(found, expected)


def test_bands_of_rows_and_wider_pixels_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "_BAND_BYTES", 1)
    export = exported(NETWORKS["bottleneck"]())
    nodes = lower(export.explicit(), wide_codes=True).graph.node
    rows = export.graph.shape("e")[0]
    assert sum(node.name.startswith("e_bn/batchnorm/add_1:0 rows from ") for node in nodes) == rows > 1
    stem = exported(strided_stem())
    kinds = Counter(node.op_type for node in lower(stem.explicit(), wide_codes=True).graph.node)
    assert kinds["Reshape"] == 1


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (3, 3, 3, 3), (0, 1, 2, 3), (2, 0, 0, 0)])
def test_a_strided_convolution_of_an_image_is_one_of_2x2_pixels(kernel: int, padding: n.Padding) -> None:
    export = exported(strided_stem(kernel, padding))
    images = images_for(export.graph, 2, seed=1)
    scheme = export.explicit()
    cov, bbox = run(export, scheme, images, wide=True)
    expected_cov, expected_bbox = export.expected(images)
    assert_allclose(cov, expected_cov, atol=2e-5)
    assert_allclose(bbox, expected_bbox, atol=2e-5 * np.abs(expected_bbox).max())


def strided_stem(kernel: int = 7, padding: n.Padding = (3, 3, 3, 3)) -> Net:
    net = Net()
    stem = n.Conv2D("stem", (net.input,), (kernel, kernel), (2, 2), padding, filters=8, use_bias=True)
    net.heads(net.relu("stem_relu", net.add(stem)))
    return net


def operations(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """How many operations of each kind ONNX Runtime runs, after its own optimizations."""
    open_session(model, 1, optimized=folder / "optimized.onnx")
    nodes = onnx.load(folder / "optimized.onnx").graph.node
    # A factor per channel becomes a convolution of one pixel there.
    return Counter("Mul" if is_factor(node) else node.op_type for node in nodes)


def is_factor(node: onnx.NodeProto) -> bool:
    return node.op_type == "Conv" and node.input[1].startswith("mul_scale")


def saturated(export: Exported, scheme: Int8Scheme) -> list[str]:
    """The convolutions that QLinearConv can compute: with no sum and no curve behind.

    Not a depthwise one of a signed tensor, which has no form that every CPU multiplies exactly.
    """
    names = {tensor: node for node, tensor in export.deployed.tensors.items()}
    found = [
        names[conv]
        for conv, block in scheme.blocks.items()
        if block.addend is None and [op.kind for op in block.activation] in ([], ["Relu"], ["Clip"])
    ]
    return [name for name in found if not reads_signed_depthwise(export.deployed.graph, name)]


def reads_signed_depthwise(graph: Graph, name: str) -> bool:
    node = graph[name]
    return isinstance(node, n.DepthwiseConv2D) and isinstance(graph[node.inputs[0]], n.Conv2D)


@pytest.mark.parametrize("qat", [True, False], ids=["QAT", "PTQ"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_convolution_but_the_heads_runs_in_float(name: str, qat: bool, tmp_path: Path) -> None:
    export = exported(NETWORKS[name](), qat=qat)
    scheme = export.explicit()
    kinds = operations(lower(scheme, wide_codes=False), tmp_path)
    depthwise = sum(isinstance(export.deployed.graph[name], n.DepthwiseConv2D) for name in export.plan.weights)
    in_float = kinds["Conv"] + kinds["FusedConv"] - 2
    assert kinds["QLinearConv"] + kinds["MatMulIntegerToFloat"] + in_float == len(scheme.blocks)
    assert len(scheme.blocks) == len(export.plan.weights)
    assert in_float <= depthwise
    if qat:
        assert kinds["QLinearConv"] == len(saturated(export, scheme))
        assert not kinds["QLinearAdd"]
    # None of ONNX Runtime's own roundings slipped in.
    assert not {kind for kind in kinds if kind.startswith("QLinear")} - {"QLinearConv", "QLinearAdd"}


def test_sums_that_are_computed_in_float_are_sums_of_integers(tmp_path: Path) -> None:
    """Of few products, which float32 adds up exactly, before they are scaled."""
    export = exported(NETWORKS["pad and depthwise"]())
    operations(lower(export.explicit(), wide_codes=False), tmp_path)
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    grouped = [node for node in graph.node if any(item.name == "group" and item.i > 1 for item in node.attribute)]
    (depthwise,) = (node for node in grouped if not is_factor(node))
    (kernel,) = (numpy_helper.to_array(item) for item in graph.initializer if item.name == depthwise.input[1])
    assert_array_equal(kernel, np.rint(kernel))


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("clip", [1.0, 0.4], ids=["whole range", "clipped"])
def test_a_bias_between_the_units_of_the_sums_is_made_of_integers(clip: float, wide: bool, tmp_path: Path) -> None:
    """Calibrated networks: the codes are stored higher where that makes the bias a whole number of units."""
    net = Net()
    net.heads(net.conv_bn_relu("b", net.conv_bn_relu("a", net.input, 16), 16))
    export = exported(net, clip=clip)
    images = images_for(export.graph, 2, seed=1)
    scheme = export.explicit()
    kinds = operations(lower(scheme, wide_codes=wide), tmp_path)
    assert kinds["QLinearConv"] + kinds["MatMulIntegerToFloat"] == 2
    assert kinds["QLinearConv"] == kinds["QLinearAdd"] == 1  # of "a", whose sums have small units
    cov, bbox = run(export, scheme, images, wide=wide)
    expected_cov, expected_bbox = export.expected(images)
    assert_allclose(cov, expected_cov, atol=2e-5)
    assert_allclose(bbox, expected_bbox, atol=2e-5 * np.abs(expected_bbox).max())


@needs_vnni
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "linear depthwise"])
def test_both_forms_of_signed_tensors_give_the_same_codes(name: str) -> None:
    export = exported(NETWORKS[name]())
    images = images_for(export.graph)
    scheme = export.explicit()
    for wide, narrow in zip(run(export, scheme, images, wide=True), run(export, scheme, images, wide=False)):
        assert_allclose(wide, narrow, atol=2e-5 * np.abs(wide).max())


def test_what_exceeds_the_range_is_clipped_to_127_codes() -> None:
    """A chain of saturated tensors: 255, which uint8 could hold, must not appear."""
    net = Net()
    net.heads(net.relu("b_relu", net.conv("b", net.relu("a_relu", net.conv("a", net.input, 8)), 8, 1)))
    export = exported(net, clip=0.05)
    images = images_for(export.graph)
    scheme = export.explicit()
    model = lower(scheme, wide_codes=False)
    codes = [node.output[0] for node in model.graph.node if node.op_type == "Clip"]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in codes
    )
    for tensor in open_session(model, 1).run(codes, {"input_1:0": images}):
        assert tensor.max() == 127
    cov, _ = run(export, scheme, images, wide=False)
    assert_allclose(cov, export.expected(images)[0], atol=2e-5)


def test_signed_codes_end_at_127_on_both_sides() -> None:
    export = exported(NETWORKS["linear"](), clip=0.05)
    model = lower(export.explicit(), wide_codes=True)
    (signed,) = (node.output[0] for node in model.graph.node if node.op_type == "Clip" and len(node.input) == 2)
    model.graph.output.append(onnx.helper.make_tensor_value_info(signed, onnx.TensorProto.UINT8, None))
    (codes,) = open_session(model, 1).run([signed], {"input_1:0": images_for(export.graph)})
    assert (codes.min(), codes.max()) == (128 - 127, 255)


@pytest.mark.parametrize("wide", WIDE)
def test_a_channel_of_nearly_no_weight_keeps_its_bias(wide: bool) -> None:
    """Pruned or dead channels: the bias in units of the integer sum would not fit into int32."""
    net = Net()
    net.heads(net.relu("b_relu", net.conv("b", net.relu("a_relu", net.conv("a", net.input, 4, bias=True)), 4)))
    export = exported(net)
    kernel, bias = export.graph.weight("a", "kernel").copy(), export.graph.weight("a", "bias").copy()
    kernel[..., 1] *= 1e-12
    kernel[..., 2] = 0
    bias[1:3] = 0.7
    weights = {**export.graph.weights, "a/kernel": kernel, "a/bias": bias}
    net_graph = export.graph.with_weights(weights)
    changed = exported_again(export, net_graph)
    images = images_for(net_graph)
    cov, bbox = run(changed, changed.explicit(), images, wide=wide)
    expected_cov, expected_bbox = changed.expected(images)
    assert_allclose(cov, expected_cov, atol=2e-5)
    assert_allclose(bbox, expected_bbox, atol=2e-5 * np.abs(expected_bbox).max())


def exported_again(export: Exported, graph: Graph) -> Exported:
    """The export of the same network with other weights."""

    class Fixed(Net):
        def graph(self, *outputs: str, seed: int = 0) -> Graph:
            return graph

    return exported(Fixed())


def test_the_same_image_gives_the_same_bits_alone_and_in_a_batch_with_any_number_of_threads() -> None:
    export = exported(NETWORKS["projection"]())
    images = images_for(export.graph, 3)
    model = lower(export.explicit(), wide_codes=False)
    engines = [OnnxEngine(model, export.info, OUTPUTS, nhwc=True, threads=threads) for threads in (1, 2)]
    whole = [engine.predict(images) for engine in engines]
    for first, second in zip(*whole):
        assert_array_equal(first, second)
    alone = engines[0].predict(images[1:2])
    for first, second in zip(alone, whole[0]):
        assert_array_equal(first[0], second[1])
