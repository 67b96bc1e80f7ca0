"""Every backbone through the whole workflow: built, pruned, trained, quantized, exported, and run as exported.

Networks are pruned to a few filters first, so that the chain takes seconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from qatkit.detectnet.grid import Grid
from qatkit.detectnet.labels import Labels
from qatkit.engine.keras import KerasEngine, predictor
from qatkit.engine.onnx_runtime import OnnxEngine, open_onnx
from qatkit.export.cache import read_cache
from qatkit.export.calibrate import tensors_of
from qatkit.export.deployed import deploy
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import ExportReport, export
from qatkit.graph import nodes as n
from qatkit.graph.build import BACKBONES, build
from qatkit.graph.graph import Graph
from qatkit.keras.fake_quant import QuantizedKerasGraph
from qatkit.keras.network import KerasGraph, to_keras
from qatkit.keras.rasterizer import CoverageShape, Rasterizer
from qatkit.keras.step import Stepper
from qatkit.model.file import Model
from qatkit.pruning.prune import PruneResult
from qatkit.quantization.folding import snap_biases_to_grid
from qatkit.quantization.placement import Placement, QuantizationPlan, place
from qatkit.spec.backbones import ARCHITECTURES
from tests.support import golden_data
from tests.support.backbones import config, pruned_to, with_lively_weights
from tests.support.detector import COST, training_config
from tests.support.reference import evaluate

Array = NDArray[np.float32]
HEIGHT, WIDTH, CLASSES = 64, 96, ("car", "person")


@dataclass(frozen=True)
class Case:
    """A backbone with its options, its stride, and the kinds of its activations."""

    arch: str
    depth: int
    stride: int
    options: Mapping[str, bool] = field(default_factory=dict)
    activations: frozenset[type[n.Node]] = frozenset({n.Relu})

    def __str__(self) -> str:
        options = "".join(f"-{'' if value else 'no_'}{name}" for name, value in self.options.items())
        return f"{self.arch}{self.depth if ARCHITECTURES[self.arch].depths else ''}{options}"


LEAKY, SWISH = frozenset({n.LeakyRelu}), frozenset({n.Swish, n.Sigmoid})
BARE = {"use_batch_norm": False}
IDENTITY = {"all_projections": False}
CASES = [
    Case("resnet", 10, 16),
    Case("resnet", 18, 16, {**BARE, **IDENTITY}),
    Case("resnet", 18, 224, {"use_pooling": True}),
    Case("resnet", 34, 16, IDENTITY),
    Case("resnet", 50, 16),
    Case("resnet", 101, 16, IDENTITY),
    Case("vgg", 16, 16),
    Case("vgg", 19, 16, {**BARE, "use_pooling": True}),
    Case("googlenet", 0, 16),
    Case("googlenet", 0, 16, BARE),
    Case("mobilenet_v1", 0, 16),
    Case("mobilenet_v1", 0, 16, BARE),
    Case("mobilenet_v2", 0, 16),
    Case("mobilenet_v2", 0, 16, BARE),
    Case("squeezenet", 0, 16),
    Case("darknet", 19, 32, activations=LEAKY),
    Case("darknet", 19, 32, BARE, activations=LEAKY),
    Case("darknet", 53, 32, activations=LEAKY),
    Case("efficientnet_b0", 0, 32, activations=SWISH),
]


class Chain:
    """A network's way through the workflow; each part is made when a test first asks for it."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self.images = np.random.default_rng(0).random((2, HEIGHT, WIDTH, 3), np.float32)

    @cached_property
    def full(self) -> Graph:
        spec = config(self.case.arch, self.case.depth, **self.case.options)
        return build(spec, (HEIGHT, WIDTH, 3), len(CLASSES), seed=0)

    @cached_property
    def medium(self) -> Graph:
        return with_lively_weights(pruned_to(self.full, 16).graph)

    @cached_property
    def pruning(self) -> PruneResult:
        return pruned_to(self.medium, 8)

    @cached_property
    def small(self) -> Graph:
        return with_lively_weights(self.pruning.graph)

    @cached_property
    def network(self) -> KerasGraph:
        """The small network after one step of training."""
        network = to_keras(self.small)
        one_step(network)
        return network

    @cached_property
    def trained(self) -> Graph:
        return self.network.read()

    @cached_property
    def outputs(self) -> tuple[Array, Array]:
        """Coverage and boxes of the trained float network, as Keras computes them."""
        return predictor(self.network.model)(self.images)

    @cached_property
    def values(self) -> dict[str, Array]:
        """The output of every node of the trained network, computed without TensorFlow."""
        return evaluate(self.trained, self.images)

    @cached_property
    def quantized(self) -> tuple[Quantized, ...]:
        """The trained network as both placements quantize it; networks with options take the default one only."""
        return tuple(Quantized(self, mode) for mode in get_args(Placement)[: 1 if self.case.options else 2])

    def model(self, plan: QuantizationPlan | None = None) -> Model:
        """The trained network, with `plan` as if it had been trained for quantization."""
        if plan is None:
            return Model(self.trained, Labels(CLASSES))
        ranges = {name: max(float(np.abs(self.values[name]).max()), 1e-3) for name in plan.activations}
        graph = snap_biases_to_grid(self.trained, plan, ranges)
        return Model(graph, Labels(CLASSES), ranges=ranges, plan=plan)


def one_step(network: KerasGraph) -> float:
    """One step of Adam on a batch with two objects per image; returns the loss."""
    height, width, _ = network.graph.shape("output_bbox")
    rasterizer = Rasterizer(Grid(WIDTH, HEIGHT, width, height), [CoverageShape()] * len(CLASSES), 0.5)
    step = Stepper(network, rasterizer, COST, training_config(), tf.distribute.get_strategy())
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 40, (2, 2, 2))
    batch = {
        "image": tf.constant(rng.random((2, HEIGHT, WIDTH, 3)), tf.float32),
        "boxes": tf.constant(np.concatenate([low, low + rng.uniform(16, 24, low.shape)], axis=-1), tf.float32),
        "class_ids": tf.constant([[0, 1], [1, -1]], tf.int32),
        "weight": tf.ones(2),
    }
    return step(batch, 1e-3).loss


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Without tracing, which takes longer than the few runs of each network."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module", params=CASES, ids=str)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    yield Chain(request.param, tmp_path_factory.mktemp("backbone"))
    tf_keras.backend.clear_session()


def convolutions(graph: Graph) -> list[str]:
    """The convolutions of the backbone, without the heads."""
    return [node.name for node in graph.nodes if isinstance(node, n.CONVOLUTIONS) and node.name not in graph.heads]


def activations(graph: Graph) -> Counter[type[n.Node]]:
    """How many activations of each kind there are in the backbone."""
    kinds = (type(node) for node in graph.nodes if node.name not in graph.heads)
    return Counter(kind for kind in kinds if issubclass(kind, n.Activation))


def test_stride_and_activations(chain: Chain) -> None:
    graph, case = chain.full, chain.case
    cells = (-(-HEIGHT // case.stride), -(-WIDTH // case.stride))
    assert graph.shape("output_bbox") == (*cells, 8)
    assert graph.shape("output_cov/Sigmoid") == (*cells, 2)
    assert set(activations(graph)) == case.activations
    assert any(isinstance(node, n.BatchNorm) for node in graph.nodes) is (
        case.options.get("use_batch_norm", True) and case.arch != "squeezenet"
    )


def test_pruning_removes_filters_everywhere(chain: Chain) -> None:
    for graph, filters in ((chain.medium, 16), (chain.pruning.graph, 8)):
        # Squeeze-and-excite layers have fewer filters from the start.
        assert max(graph.shape(name)[2] for name in convolutions(graph)) == filters
        assert activations(graph) == activations(chain.full)
        assert graph.shape("output_bbox") == chain.full.shape("output_bbox")


def test_a_pruned_network_computes_what_the_kept_filters_compute(chain: Chain) -> None:
    """Removed filters and filters of zeros are the same."""
    full = evaluate(without_filters(chain.medium, chain.pruning.kept), chain.images[:1])
    pruned = evaluate(chain.pruning.graph, chain.images[:1])
    for name in chain.full.outputs:
        scale = np.abs(full[name]).max()
        np.testing.assert_allclose(pruned[name], full[name], rtol=0, atol=1e-4 * scale, err_msg=name)


def without_filters(graph: Graph, kept: Mapping[str, Any]) -> Graph:
    """`graph` with zeros for the filters that are not in `kept`, and behind them."""
    weights = dict(graph.weights)
    for node in graph.nodes:
        source = node.inputs[0] if isinstance(node, n.BatchNorm) else node.name
        for name in node.weight_names():
            removed = np.setdiff1d(np.arange(graph.shape(source)[2]), kept[source])
            axis = 2 if isinstance(node, n.DepthwiseConv2D) and name.endswith("kernel") else -1
            array = np.moveaxis(weights[name].copy(), axis, 0)
            # A variance may stay what it is: gamma is zero.
            array[removed] = 1 if name.endswith("variance") else 0
            weights[name] = np.moveaxis(array, 0, axis)
    return graph.with_weights(weights)


def test_one_step_trains_every_layer(chain: Chain) -> None:
    before, after = chain.small.weights, chain.trained.weights
    assert all(np.isfinite(array).all() for array in after.values())
    still = {name for name in before if np.array_equal(before[name], after[name])}
    # A shift before a batch norm is taken out by it: its gradient is zero.
    assert {name.rpartition("/")[2] for name in still} <= {"bias", "beta"}
    assert not any(name.startswith("output_") for name in still)


def test_the_float_onnx_computes_what_keras_computes(chain: Chain) -> None:
    path = chain.folder / "float.onnx"
    export(chain.model(), path, ExportOptions())
    onnx.checker.check_model(str(path), full_check=True)
    assert largest_difference(open_onnx(path).predict(chain.images), chain.outputs) < 1e-4
    assert onnx_activations(onnx.load(path)) == activations(chain.full)


def largest_difference(found: tuple[Array, Array], expected: tuple[Array, Array]) -> float:
    """Of coverage and boxes, relative to the largest magnitude of each."""
    return max(float(np.abs(one - two).max() / np.abs(two).max()) for one, two in zip(found, expected))


def onnx_activations(model: onnx.ModelProto) -> Counter[type[n.Node]]:
    """The activations of an ONNX network by our kinds, the heads' sigmoid aside."""
    kinds = Counter(node.op_type for node in model.graph.node)
    swishes = sum(node.op_type == "Sigmoid" and node.output[0].endswith("/gate:0") for node in model.graph.node)
    found = {
        n.Relu: kinds["Relu"],
        n.Relu6: kinds["Clip"],
        n.LeakyRelu: kinds["LeakyRelu"],
        n.Swish: swishes,
        n.Sigmoid: kinds["Sigmoid"] - swishes - 1,
    }
    return Counter({kind: count for kind, count in found.items() if count})


class Quantized:
    """The trained network of a chain, quantized as `placement` says, in Keras and exported.

    The arithmetic is TensorRT's with both placements (TAO's own is tested in `quantization/test_tao_quant.py`).
    """

    def __init__(self, chain: Chain, placement: Placement) -> None:
        self.chain = chain
        self.plan = place(chain.trained, placement)
        self.model = chain.model(replace(self.plan, placement="tensorrt"))
        self.engine = KerasEngine.from_model(self.model)
        self.outputs = self.engine.predict(chain.images)

    @property
    def network(self) -> QuantizedKerasGraph:
        assert isinstance(self.engine.network, QuantizedKerasGraph)
        return self.engine.network

    @cached_property
    def report(self) -> ExportReport:
        """Exported with two images, so that the cache covers all tensors."""
        path = self.chain.folder / f"{self.plan.placement}.onnx"
        options = ExportOptions(data_type="int8", cal_cache_file=path.with_suffix(".bin"), calibrator="minmax")
        return export(self.model, path, options, [self.chain.images])

    @cached_property
    def tensors(self) -> dict[str, Array]:
        """ONNX tensor -> what Keras makes of it with fake quantization, NCHW."""
        deployed = deploy(self.model.graph)
        tensors = deployed.trained_tensors
        names = {name: tensors[name] for name in self.plan.activations if name in tensors}
        model = self.network.model
        probe = tf_keras.Model(model.input, [self.network.layers[name].output for name in names])
        return {
            tensor: value.numpy().transpose(0, 3, 1, 2)
            for tensor, value in zip(names.values(), probe(self.chain.images))
        }

    @cached_property
    def trained_on(self) -> QuantizedKerasGraph:
        """The network after a step of quantization-aware training; what it computed before is kept."""
        assert self.tensors
        one_step(self.network)
        return self.network

    @cached_property
    def explicit(self) -> OnnxEngine:
        assert self.report.qdq is not None
        return open_onnx(self.report.qdq)


def test_every_convolution_but_the_heads_is_quantized(chain: Chain) -> None:
    graph = chain.trained
    for plan in (quantized.plan for quantized in chain.quantized):
        assert list(plan.weights) == convolutions(graph)
        read = {graph[name].inputs[0] for name in (*plan.weights, "output_bbox", "output_cov")}
        assert all(plan.range_source(name) for name in read)
        assert not any(plan.range_source(name) for name in graph.heads)


def test_no_activation_is_replaced(chain: Chain) -> None:
    for quantized in chain.quantized:
        assert keras_activations(quantized.network) == activations(chain.full)


def keras_activations(network: KerasGraph) -> Counter[type[n.Node]]:
    """The activations of a Keras model by our kinds, the heads' sigmoid aside."""
    found: Counter[type[n.Node]] = Counter()
    for name, layer in network.layers.items():
        inner = getattr(layer, "layer", layer)
        if name in network.graph.heads:
            continue
        if isinstance(inner, tf_keras.layers.ReLU):
            found[n.Relu if inner.max_value is None else n.Relu6] += 1
        elif isinstance(inner, tf_keras.layers.LeakyReLU):
            assert inner.alpha == pytest.approx(0.1)
            found[n.LeakyRelu] += 1
        elif isinstance(inner, tf_keras.layers.Activation):
            found[{"swish": n.Swish, "sigmoid": n.Sigmoid}[inner.activation.__name__]] += 1
    return found


def test_the_qdq_onnx_computes_what_fake_quantization_computes(chain: Chain) -> None:
    """Block by block, each fed with what Keras made before it, so that a flipped code does not multiply.

    A code may flip where a value meets the middle of two, as float sums depend on their order.
    """
    for quantized in chain.quantized:
        report, tensors = quantized.report, quantized.tensors
        assert report.qdq is not None
        model = onnx.load(report.qdq)
        onnx.checker.check_model(model, full_check=True)
        assert onnx_activations(model) == activations(chain.full)
        found, outputs = run_by_block(model, chain.images, tensors)
        assert found.keys() == tensors.keys()
        flips = np.concatenate(
            [np.rint((found[name] - value) * 127 / report.ranges[name]).ravel() for name, value in tensors.items()]
        )
        assert np.abs(flips).max() <= 1
        assert np.mean(flips != 0) < 1e-3
        assert largest_difference(outputs, quantized.outputs) < 1e-5


def run_by_block(
    model: onnx.ModelProto, images: Array, tensors: Mapping[str, Array]
) -> tuple[dict[str, Array], tuple[Array, Array]]:
    """What `model` makes of each quantized tensor, and its outputs, when it reads `tensors` in their place."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    scales = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    quantizers = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    feed = {model.graph.input[0].name: images.transpose(0, 3, 1, 2)}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantizers:
            cut.graph.node.remove(node)
            cut.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
            feed[node.output[0]] = tensors[quantizers[node.input[0]].input[0]]
    cut.graph.output.extend(onnx.ValueInfoProto(name=codes) for codes in quantizers)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
    bbox, cov, *found = session.run(None, feed)
    values = {node.input[0]: codes * scales[node.input[1]] for node, codes in zip(quantizers.values(), found)}
    return values, (cov, bbox)


def test_the_int8_engine_agrees(chain: Chain) -> None:
    """Most networks: to six digits. Where one code flips early, all that follows is rounded differently.

    Then it is as far from Keras's fake quantization as that is from the float network, at most.
    """
    for quantized in chain.quantized:
        engine = quantized.explicit
        assert engine.report is not None
        assert engine.report.quantized == len(convolutions(chain.trained))
        for found, keras, plain in zip(engine.predict(chain.images), quantized.outputs, chain.outputs):
            assert rms(found - keras) < 1.5 * rms(keras - plain)


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_the_cache_makes_the_float_onnx_what_the_qdq_onnx_is(chain: Chain) -> None:
    quantized = chain.quantized[0]
    pair = open_onnx(quantized.report.onnx, cal_cache=quantized.report.cache)
    assert pair.report is not None
    assert pair.report.quantized == len(convolutions(chain.trained))
    # With a cache the heads have INT8 kernels too.
    assert largest_difference(pair.predict(chain.images), quantized.explicit.predict(chain.images)) < 0.03


def test_the_cache_covers_the_tensors_of_its_onnx(chain: Chain) -> None:
    for quantized in chain.quantized:
        report = quantized.report
        assert report.cache is not None
        names = list(read_cache(report.cache).scales)
        assert names == tensors_of(onnx.load(report.onnx))
        assert report.uncovered == ()
        # Without images it holds what training had ranges of, under names of the file.
        options = ExportOptions(data_type="int8", cal_cache_file=chain.folder / "qat.bin")
        export(quantized.model, chain.folder / "qat.onnx", options)
        only_trained = read_cache(chain.folder / "qat.bin").scales
        assert set(quantized.tensors) <= set(only_trained) < set(names)


def test_one_step_of_quantization_aware_training_moves_ranges_and_weights(chain: Chain) -> None:
    for quantized in chain.quantized:
        before, after, plan = quantized.model, quantized.trained_on, quantized.plan
        weights = after.read().weights
        assert all(np.isfinite(array).all() for array in weights.values())
        kernels = [f"{name}/kernel" for name in plan.weights]
        assert not [name for name in kernels if np.array_equal(weights[name], before.graph.weights[name])]
        moved = {name for name, amax in after.ranges().items() if amax != before.ranges[name]}
        # Not all: what is clipped before it peaks where it did.
        assert len(moved) > len(plan.activations) / 2


def qat_cases() -> list[dict[str, Any]]:
    root = golden_data.ROOT / "09_graphs"
    paths = [root / case.get("file", "") for case in golden_data.cases("09_graphs") if case["id"].endswith("_qat")]
    found = [json.loads(path.read_text()) | {"id": path.stem} for path in paths if path.is_file()]
    # The original leaves the mobilenets in float when it builds them.
    return [case for case in found if any(layer["type"] == "QDQ" for layer in case["layers"])]


@pytest.mark.parametrize("case", golden_data.params("09_graphs", qat_cases(), compat=True))
def test_tao_placement_is_that_of_the_original(case: dict[str, Any]) -> None:
    options = {name: case[name] for name in ("use_batch_norm", "use_pooling", "all_projections")}
    channels, height, width = case["input_shape"]
    graph = build(
        config(case["arch"], case["num_layers"], **options), (height, width, channels), case["classes"], seed=0
    )
    plan = place(graph, "tao")
    kinds = {layer["name"]: layer["type"] for layer in case["layers"]}
    # What does nothing in inference is no node of ours.
    expected = {
        layer["name"].removesuffix("_qdq")
        for layer in case["layers"]
        if layer["type"] == "QDQ" and kinds[layer["inbound"][0]] not in ("Dropout", "Reshape")
    }
    found = {f"{name.split('/')[0]}_act" if "/" in name else name for name in plan.activations}
    assert found == expected
    assert set(plan.weights) == {name for name, kind in kinds.items() if kind.startswith("Quantized")}


def readme_rows() -> list[list[str]]:
    """The cells of the table of backbones in the README."""
    lines = (Path(__file__).parents[1] / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return [row for row in rows if row[0].strip("`") in BACKBONES]


def test_the_readme_lists_every_backbone() -> None:
    assert {row[0].strip("`") for row in readme_rows()} == set(BACKBONES)
    listed = {(row[0].strip("`"), int(row[1] or 0)) for row in readme_rows()}
    assert {(case.arch, case.depth) for case in CASES} == listed


@pytest.mark.parametrize("row", readme_rows(), ids=lambda row: row[0].strip("`") + row[1])
def test_the_table_in_the_readme_is_true(row: list[str]) -> None:
    arch, depth, params, macs, stride, options, blocks, activation = (cell.strip("`") for cell in row)
    projections = (False, True) if "projections" in options else (True,)
    graphs = [
        build(config(arch, int(depth or 0), all_projections=value), (544, 960, 3), 1, seed=0) for value in projections
    ]
    assert ", ".join(f"{graph.params / 1e6:.2f}" for graph in graphs) == params
    assert ", ".join(f"{graph.macs / 1e9:.1f}" for graph in graphs) == macs
    assert 960 // graphs[0].shape("output_bbox")[1] == int(stride) == ARCHITECTURES[arch].stride
    assert {"ReLU": n.Relu, "leaky ReLU": n.LeakyRelu, "swish": n.Swish}[activation] in activations(graphs[0])
    known = ARCHITECTURES[arch]
    assert f"{known.blocks.start} to {known.blocks.stop - 1}" == blocks
    norm = {None: "batch norm", True: "always batch norm", False: "never batch norm"}[known.batch_norm]
    assert options.split(", ")[0] == norm
