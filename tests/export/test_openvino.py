"""The Q/DQ ONNX in the hands of a reader that is not ours: OpenVINO finds what ONNX Runtime and our INT8 engine find.

OpenVINO computes the file in integers of its own ("low-precision transformations"). What is not quantized it would
compute in bfloat16 on CPUs that have it, half a percent off: here it is told to take float32. On CPUs without VNNI it
adds two products of codes in int16, where they overflow (`is_exact`): there it has to read kernels of half the codes,
which it reads everywhere.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qatkit.detectnet.boxes import iou
from qatkit.detectnet.clustering import Algorithm, ClusteringParams, Detections
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.postprocess import detect
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.export.deployed import deploy
from qatkit.export.onnx_model import OPSET
from qatkit.export.qdq import to_qdq_onnx
from qatkit.graph.build import build
from qatkit.graph.graph import Graph
from qatkit.quantization.folding import snap_biases_to_grid
from qatkit.quantization.placement import QuantizationPlan, place
from tests.support.backbones import config, pruned_to, with_lively_weights
from tests.support.exported import METADATA, NETWORKS, OUTPUTS
from tests.support.reference import evaluate

Array = NDArray[np.float32]
Outputs = tuple[Array, Array]
Damage = Callable[[onnx.ModelProto], None]

FRAMES = 12
# Root mean square of a difference, relative to the largest output; seen: 6e-7. Half of the frames must be the same:
# float sums in another order put a value, now and then, on the other side of the middle between two codes, and a deep
# network of random weights then answers that frame differently (ResNet18: one or two).
SAME = 1e-5
CLUSTERINGS = (
    ClusteringParams(Algorithm.NMS, coverage_threshold=0.4, nms_iou_threshold=0.3),
    ClusteringParams(Algorithm.DBSCAN, 0.4, dbscan_eps=0.5, dbscan_min_samples=0.05, dbscan_confidence_threshold=0.5),
)
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
FLOAT_MODE = FLOAT32 | {"LP_TRANSFORMS_MODE": "NO"}
# What OpenVINO is to compute with: all codes of a kernel, half of them (-64..64), or floats.
ALL, HALF, WRITTEN = "in integers", "in integers, half of the kernels' codes", "as written"
MODES = {ALL: FLOAT32, HALF: FLOAT32, WRITTEN: FLOAT_MODE}


def resnet18() -> Graph:
    """ResNet18 of 8 filters per layer, 32x48."""
    return with_lively_weights(pruned_to(build(config("resnet", 18), (32, 48, 3), 2, seed=0), 8).graph)


GRAPHS: dict[str, Callable[[], Graph]] = {
    **{name: (lambda make=make: make().graph()) for name, make in NETWORKS.items()},
    "resnet18": resnet18,
}


def pictures(graph: Graph, seed: int) -> Array:
    """[FRAMES, H, W, C] in 0..1: squares of 4x4 pixels, and noise."""
    height, width, channels = graph.input.shape
    rng = np.random.default_rng(seed)
    squares = rng.random((FRAMES, height // 4, width // 4, channels)).repeat(4, 1).repeat(4, 2)
    return (0.8 * squares + 0.2 * rng.random((FRAMES, height, width, channels))).astype(np.float32)


def with_trained_heads(graph: Graph, images: Array) -> Graph:
    """`graph` with heads that find objects on `images`: in a fifth of the cells, each a third of the image high."""
    values, weights = evaluate(graph, images), dict(graph.weights)
    side = graph.input.shape[0] / 6 / METADATA.labels.box_scale
    for head, mean, deviation in (("output_cov", -1.5, 2.0), ("output_bbox", side, side / 8)):
        found = values[head].reshape(-1, values[head].shape[-1])
        factor = deviation / found.std(axis=0)
        bias = (weights[f"{head}/bias"] - found.mean(axis=0)) * factor + mean
        weights[f"{head}/kernel"] = (weights[f"{head}/kernel"] * factor).astype(np.float32)
        weights[f"{head}/bias"] = bias.astype(np.float32)
    return graph.with_weights(weights)


@dataclass(frozen=True)
class Case:
    """A network as it is exported, and what each reader makes of it. mode: one of MODES."""

    name: str
    mode: str
    folder: Path
    core: Any

    @cached_property
    def graph(self) -> Graph:
        bare = GRAPHS[self.name]()
        return with_trained_heads(bare, pictures(bare, seed=1))

    @cached_property
    def plan(self) -> QuantizationPlan:
        return place(self.graph, "tensorrt")

    @cached_property
    def images(self) -> Array:
        return pictures(self.graph, seed=2)

    @cached_property
    def path(self) -> Path:
        """The exported file; with biases as quantization-aware training leaves them, which integers hold exactly."""
        values = evaluate(self.graph, pictures(self.graph, seed=1))
        ranges = {name: float(np.abs(values[name]).max()) for name in self.plan.activations}
        step = 2 if self.mode == HALF else 1
        deployed = deploy(
            snap_biases_to_grid(self.graph, self.plan, {name: step * most for name, most in ranges.items()})
        )
        model = to_qdq_onnx(deployed, self.plan, ranges, METADATA)
        if self.mode == HALF:
            halve_codes(model)
        path = self.folder / "model.qdq.onnx"
        onnx.save(model, path)
        return path

    def damaged(self, damage: Damage) -> Path:
        """The exported file with an error in it."""
        model = onnx.load(self.path)
        damage(model)
        path = self.folder / "damaged.onnx"
        onnx.save(model, path)
        return path

    @cached_property
    def ours(self) -> Outputs:
        """Our INT8 engine."""
        return open_onnx(self.path, threads=1).predict(self.images)

    @cached_property
    def plain(self) -> Outputs:
        """ONNX Runtime, node by node."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        cov, bbox = session.run(list(OUTPUTS), {session.get_inputs()[0].name: self.images.transpose(0, 3, 1, 2)})
        return cov, bbox

    def compiled(self, path: Path | None = None) -> Any:
        return self.core.compile_model(self.core.read_model(path or self.path), "CPU", MODES[self.mode])

    def openvino(self, path: Path | None = None) -> Outputs:
        """OpenVINO on the exported file, or on `path`."""
        results = self.compiled(path)(np.ascontiguousarray(self.images.transpose(0, 3, 1, 2)))
        return results[OUTPUTS[0]], results[OUTPUTS[1]]

    def detections(self, outputs: Outputs, params: ClusteringParams) -> list[list[Detections]]:
        """By frame and class."""
        height, width, _ = self.graph.input.shape
        rows, columns = outputs[0].shape[2:]
        grid = Grid(width, height, columns, rows, METADATA.labels.box_scale, METADATA.labels.box_offset)
        return [list(frame.values()) for frame in detect(*outputs, grid, [params] * 2)]


@pytest.fixture(scope="module")
def core() -> Any:
    """OpenVINO without its telemetry package, with which the import alone would send a message."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "openvino_telemetry", None)
        openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install '.[dev]')")
    return openvino.Core()


def is_exact(core: Any, code: int) -> bool:
    """Whether OpenVINO multiplies codes exactly on this CPU, with kernels of codes up to `code`, by trying.

    It adds 128 to the codes of a tensor. Its kernels for AVX2 and AVX-512 without VNNI then add pairs of products in
    int16, where 2 * 255 * 127 overflows; 2 * 255 * 64 does not.
    """
    channels, filters = 64, 32
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, filters, 6, 6])
    constants = {
        "one": np.float32(1),
        "zero": np.int8(0),
        "codes": np.full((filters, channels, 3, 3), code, np.int8),
        "ones": np.ones(filters, np.float32),
        "zeros": np.zeros(filters, np.int8),
    }
    body = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["x_codes"]),
        helper.make_node("DequantizeLinear", ["x_codes", "one", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["codes", "ones", "zeros"], ["kernel"], axis=0),
        helper.make_node("Conv", ["rounded", "kernel"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(body, "probe", [image], [output], initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    compiled = core.compile_model(core.read_model(BytesIO(model.SerializeToString())), "CPU", FLOAT32)
    (sums,) = compiled(np.full((1, channels, 8, 8), 127, np.float32)).values()
    return bool((sums == 127 * code * channels * 9).all())


@pytest.fixture(scope="module")
def cases(core: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Case]:
    """Name and mode -> network, each exported once. Skips what this CPU cannot compute exactly."""
    exact = {ALL: is_exact(core, 127), HALF: is_exact(core, 64), WRITTEN: True}

    @cache
    def case(name: str, mode: str) -> Case:
        return Case(name, mode, tmp_path_factory.mktemp("network"), core)

    def checked(name: str, mode: str) -> Case:
        if not exact[mode]:
            held = " and ".join(repr(other) for other in MODES if exact[other])
            pytest.skip(f"OpenVINO's sums of products overflow {mode} on this CPU: it is held to the same {held}")
        return case(name, mode)

    return checked


# OpenVINO's low-precision transformations (2024.6 to 2026.4) make 16 levels of the signed codes of a Concat: Relu,
# Concat, Q/DQ, Conv suffice. Such networks it has to read as they are written.
READINGS = [(name, mode) for name in GRAPHS for mode in MODES if "concat" not in name or mode == WRITTEN]


def errors(found: Outputs, expected: Outputs) -> Array:
    """[FRAMES]: the larger one of coverage and boxes, root mean square over the largest magnitude."""
    pairs = [(one - two, np.abs(two).max()) for one, two in zip(found, expected)]
    return np.max([np.sqrt(np.mean(np.square(rest), axis=(1, 2, 3))) / most for rest, most in pairs], axis=0)


def agree(found: Outputs, expected: Outputs) -> bool:
    return float(np.median(errors(found, expected))) < SAME


def matched(found: Detections, expected: Detections) -> int:
    """How many detections have a counterpart of nearly the same place and confidence; each can be one's only."""
    near = iou(found.boxes[:, None], expected.boxes) > 0.95
    near &= np.abs(found.confidences[:, None] - expected.confidences) < 0.01
    return min(near.any(axis=0).sum(), near.any(axis=1).sum())


def same(found: list[Detections], expected: list[Detections]) -> bool:
    """Whether a frame has the same detections of each class."""
    return all(len(one) == len(two) == matched(one, two) for one, two in zip(found, expected))


def test_the_import_sends_nothing(core: Any) -> None:
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]


@pytest.mark.parametrize("name, mode", READINGS)
def test_it_computes_what_onnx_runtime_and_our_engine_compute(
    cases: Callable[[str, str], Case], name: str, mode: str
) -> None:
    case = cases(name, mode)
    found = case.openvino()
    assert agree(found, case.plain)
    assert agree(found, case.ours)


@pytest.mark.parametrize("name, mode", READINGS)
def test_it_finds_what_they_find(cases: Callable[[str, str], Case], name: str, mode: str) -> None:
    case = cases(name, mode)
    found = case.openvino()
    for params in CLUSTERINGS:
        seen = case.detections(found, params)
        for expected in (case.detections(case.plain, params), case.detections(case.ours, params)):
            assert sum(len(one) for frame in expected for one in frame) > FRAMES
            assert sum(map(same, seen, expected)) > FRAMES / 2


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the plugin's kernels are known for x86")
@pytest.mark.parametrize("mode", [ALL, HALF])
def test_it_computes_in_integers(cases: Callable[[str, str], Case], mode: str) -> None:
    """Else it would be no second opinion on what INT8 does."""
    case = cases("resnet18", mode)
    operations = [node.get_rt_info() for node in case.compiled().get_runtime_model().get_ops()]
    types = [
        info["runtimePrecision"].astype(str) for info in operations if info["layerType"].astype(str) == "Convolution"
    ]
    assert len(types) == len(case.plan.weights) + 2
    assert sum(one in ("u8", "i8") for one in types) == len(case.plan.weights)


@pytest.mark.parametrize("mode", MODES)
def test_a_scale_that_is_5_percent_off_shows(cases: Callable[[str, str], Case], mode: str) -> None:
    case = cases("identity", mode)
    scales = [item.name for item in onnx.load(case.path).graph.initializer if item.name.endswith("_scale")]
    assert len(scales) == len(case.plan.activations) + len(case.plan.weights)
    for name in scales:
        found = case.openvino(path=case.damaged(lambda model, name=name: change(model, name, lambda old: old * 1.05)))
        assert np.median(errors(found, case.plain)) > 100 * SAME, name
        assert not any(map(same, *(case.detections(one, CLUSTERINGS[0]) for one in (found, case.plain)))), name


def change(model: onnx.ModelProto, name: str, function: Callable[[Any], Any]) -> None:
    """Replace the values of an initializer, keeping their type."""
    (item,) = (item for item in model.graph.initializer if item.name == name)
    old = numpy_helper.to_array(item)
    item.CopyFrom(numpy_helper.from_array(np.asarray(function(old), old.dtype), name))


def halve_codes(model: onnx.ModelProto) -> None:
    """Nearly the same kernels in half of the codes and twice the scale."""
    for name in [item.name for item in model.graph.initializer if item.name.endswith("/kernel:0_quantized")]:
        change(model, name, lambda codes: np.rint(codes / 2))
        change(model, name.replace("_quantized", "_scale"), lambda scale: 2 * scale)


def wrong_axis(model: onnx.ModelProto) -> None:
    (node,) = (node for node in model.graph.node if node.name == "a/kernel:0_dequantize")
    (axis,) = (item for item in node.attribute if item.name == "axis")
    axis.i = 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(wrong_axis, id="axis of a kernel"),
        pytest.param(lambda model: change(model, "a/kernel:0_scale", np.flip), id="order of the channels' scales"),
        pytest.param(lambda model: change(model, "a/kernel:0_zero_point", np.ones_like), id="zero point of a kernel"),
        # Shared by both nodes, a small one would only cut the largest codes off.
        pytest.param(lambda model: change(model, "a_relu/Relu:0_zero_point", lambda old: old + 64), id="zero point"),
    ],
)
def test_other_errors_show(cases: Callable[[str, str], Case], damage: Damage, mode: str) -> None:
    case = cases("identity", mode)
    assert not agree(case.openvino(path=case.damaged(damage)), case.plain)
