"""Measures the INT8 engine on the CPU: speed beside the FP32 ONNX, and its codes beside plain integer arithmetic.

python examples/benchmarks/int8_engine.py --json FILE

ResNet18 and ResNet34 detectors at 960x544, one thread, batch size 1, whole and pruned to half of their parameters.
The networks take turns in every round, and ratios are of medians. Weights are random: neither the speed nor the
arithmetic depends on them. onnxruntime_int8_vs_fp32 is ONNX Runtime's own static quantization of the same network,
for comparison: it rounds twice where a residual branch is added, and on CPUs without VNNI its sums can overflow.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from qatkit.engine.int8_blocks import ConvBlock
from qatkit.engine.int8_lowering import codes_of, lower
from qatkit.engine.int8_scheme import Int8Scheme, from_qdq
from qatkit.engine.int8_writer import MIDDLE
from qatkit.engine.onnx_graph import non_negative, parse
from qatkit.engine.onnx_runtime import open_onnx, open_session, wide_codes_are_exact
from qatkit.evaluation.speed import images_per_second
from qatkit.export.export import ExportOptions, export
from qatkit.graph.build import build
from qatkit.graph.model_file import Model
from qatkit.graph.nodes import CONVOLUTIONS, Graph
from qatkit.pruning.prune import PruneOptions, prune_to_ratio
from qatkit.quantization.folding import CODE_MAX
from qatkit.spec import ModelConfig

Array = NDArray[Any]

SHAPE = (544, 960, 3)
CLASSES = ("car", "person", "bicycle")
DEPTHS = (18, 34)


def detector(depth: int) -> Model:
    """A ResNet detector whose filters differ in norm, as trained ones do, so that pruning has something to choose."""
    config = ModelConfig(arch="resnet", num_layers=depth, use_batch_norm=True)
    graph = build(config, SHAPE, len(CLASSES), seed=0)
    rng = np.random.default_rng(0)
    kernels = [f"{node.name}/kernel" for node in graph.nodes if isinstance(node, CONVOLUTIONS)]
    weights = {
        name: graph.weights[name] * rng.uniform(0.5, 1.5, graph.weights[name].shape[3]).astype(np.float32)
        for name in kernels
    }
    return Model(graph.with_weights({**graph.weights, **weights}), CLASSES)


def pruned_to_half(model: Model) -> Model:
    """`model` with half of its parameters."""
    graph: Graph = prune_to_ratio(model.graph, PruneOptions(), 0.5).graph
    return Model(graph, CLASSES, pruned=True)


@dataclass(frozen=True)
class Exported:
    """The two files of an export: FP32, and INT8 with Q/DQ."""

    floating: Path
    qdq: Path

    @classmethod
    def of(cls, model: Model, folder: Path, images: Array) -> Exported:
        options = ExportOptions(data_type="int8", calibrator="minmax")
        report = export(model, folder / f"{model.graph.params}.onnx", options, [images])
        assert report.qdq is not None  # INT8 was asked for
        return cls(report.onnx, report.qdq)


def measure(depth: int, rounds: int) -> dict[str, float]:
    """The figures of one network."""
    images = np.random.default_rng(1).random((1, *SHAPE), np.float32)
    model = detector(depth)
    with tempfile.TemporaryDirectory() as folder:
        whole = Exported.of(model, Path(folder), images)
        pruned = Exported.of(pruned_to_half(model), Path(folder), images)
        engines = [open_onnx(path, threads=1) for path in (whole.floating, whole.qdq, pruned.qdq)]
        report = engines[1].report
        assert report is not None  # it is an INT8 engine
        theirs = Stock(statically_quantized(whole.floating, images))
        floating, int8, pruned_int8, stock = images_per_second([*engines, theirs], images, rounds)
        return {
            "fp32_images_per_second": floating,
            "int8_vs_fp32": int8 / floating,
            "pruned_int8_vs_fp32": pruned_int8 / floating,
            "onnxruntime_int8_vs_fp32": stock / floating,
            "max_code_difference": max_code_difference(whole.qdq, images),
            # Counted in what ONNX Runtime runs after its own optimizations.
            "integer_convs": report.integer,
            "quantized_convs": report.quantized,
        }


class OneImage(CalibrationDataReader):  # type: ignore[misc]
    """images: [1, H, W, C]; read once."""

    def __init__(self, images: Array) -> None:
        self._feeds = iter([{"input_1:0": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def statically_quantized(path: Path, images: Array) -> Path:
    """The file that ONNX Runtime's own static quantization makes: uint8 activations, kernels per channel."""
    output = path.with_suffix(".stock.onnx")
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(path, output, OneImage(images), quant_format=QuantFormat.QDQ, per_channel=True, **types)
    return output


class Stock:
    """ONNX Runtime with its default settings on one thread."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(self, images: Array) -> tuple[Array, Array]:
        bbox, cov = self._session.run(None, {"input_1:0": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
        return cov, bbox


def integer_network(scheme: Int8Scheme) -> onnx.ModelProto:
    """What the engine hands to ONNX Runtime on this CPU."""
    return lower(scheme, wide_codes=wide_codes_are_exact())


def max_code_difference(path: Path, images: Array) -> int:
    """The largest difference of any code of any layer, each computed from the engine's own codes before it."""
    scheme = from_qdq(parse(onnx.load(path)))
    found = codes(scheme, images)
    differences = (
        np.abs(found[block.end].astype(np.int64) - expected_codes(scheme, block, found)).max()
        for block in scheme.blocks.values()
    )
    return int(max(differences))


def codes(scheme: Int8Scheme, images: Array) -> Mapping[str, Array]:
    """Tensor -> its int8 codes -127..127 in the engine, [B, h, w, c]."""
    model = integer_network(scheme)
    made = {name for node in model.graph.node for name in node.output}
    names = [name for name in scheme.scales if codes_of(name) in made]
    model.graph.output.extend(
        helper.make_tensor_value_info(codes_of(name), TensorProto.UINT8, None) for name in names
    )
    values = open_session(model, 1).run([codes_of(name) for name in names], {scheme.graph.input: images})
    return {
        name: value.astype(np.int16) - (0 if non_negative(scheme.graph, name) else MIDDLE)
        for name, value in zip(names, values)
    }


def expected_codes(scheme: Int8Scheme, block: ConvBlock, found: Mapping[str, Array]) -> Array:
    """The codes of a fused kernel by plain arithmetic: integer sums, one rounding at the end. [B, h, w, c]."""
    graph, kernel, conv = scheme.graph, scheme.kernels[block.conv.output], block.conv
    sums = integer_convolution(conv.attributes, found[conv.inputs[0]], kernel.codes)
    values = sums * (scheme.scales[conv.inputs[0]] * kernel.scale.astype(np.float64))
    if len(conv.inputs) > 2:
        values += graph.constants[conv.inputs[2]]
    if block.addend is not None:
        values += found[block.addend] * scheme.scales[block.addend]
    kinds = [op.kind for op in block.activation]
    assert kinds in ([], ["Relu"]), f"a ResNet has no {kinds}"
    if kinds:
        values = np.maximum(values, 0)
    return np.clip(np.rint(values / scheme.scales[block.end]), -CODE_MAX, CODE_MAX).astype(np.int64)


def integer_convolution(attributes: Mapping[str, Any], image: Array, kernel: Array) -> Array:
    """image [1, H, W, I], kernel O I kh kw, both whole numbers -> sums [1, h, w, O].

    In float64, which holds these integers exactly and multiplies them faster than NumPy does int64.
    """
    top, left, bottom, right = attributes["pads"]
    rows, columns = attributes["strides"]
    padded = np.pad(image.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(1, 2))[:, ::rows, ::columns]
    # One row of the output at a time: all windows of an image at once would take gigabytes.
    matrix = kernel.reshape(len(kernel), -1).T.astype(np.float64)
    lines = (windows[:, row].reshape(1, windows.shape[2], -1) @ matrix for row in range(windows.shape[1]))
    return np.stack(list(lines), axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="runs of each network; the medians count")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    numbers = {f"resnet{depth}": measure(depth, arguments.rounds) for depth in DEPTHS}
    print(json.dumps(numbers, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
