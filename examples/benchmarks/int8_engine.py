"""Measures the INT8 engine on the CPU: speed beside the FP32 ONNX, and its codes beside plain integer arithmetic.

python examples/benchmarks/int8_engine.py --json FILE

ResNet18 and ResNet34 detectors at 960x544, one thread, batch size 1, whole and pruned to half of their parameters.
The networks take turns in every round, and ratios are of medians. Weights are random: the speed does not depend on
them. onnxruntime_int8_vs_fp32 is ONNX Runtime's own static quantization of the same network, for comparison: it
rounds biases, and twice where a residual branch is added, and on CPUs without VNNI its sums can overflow.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from qatkit.detectnet.labels import Labels
from qatkit.engine.int8.emit import SIGNED_ZERO_POINT
from qatkit.engine.int8.graph import non_negative, parse
from qatkit.engine.int8.lowering import codes_of, lower
from qatkit.engine.int8.probe import wide_codes_are_exact
from qatkit.engine.int8.scheme import from_qdq
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.engine.session import open_session
from qatkit.evaluation.speed import images_per_second
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import export
from qatkit.graph.build import build
from qatkit.graph.graph import Graph
from qatkit.graph.nodes import CONVOLUTIONS, BatchNorm
from qatkit.model.file import Model
from qatkit.pruning.prune import PruneOptions, prune_to_ratio
from qatkit.quantization.folding import CODE_MAX
from qatkit.spec import ModelConfig

Array = NDArray[Any]

SHAPE = (544, 960, 3)
CLASSES = ("car", "person", "bicycle")
DEPTHS = (18, 34)


def detector(depth: int) -> Model:
    """A ResNet detector whose filters and batch norms differ as trained ones do.

    So pruning has something to choose, and the biases lie between the units of the integer sums.
    """
    config = ModelConfig(arch="resnet", num_layers=depth, use_batch_norm=True)
    graph = build(config, SHAPE, len(CLASSES), seed=0)
    rng = np.random.default_rng(0)
    weights = dict(graph.weights)
    for node in graph.nodes:
        if isinstance(node, CONVOLUTIONS):
            kernel = weights[f"{node.name}/kernel"]
            weights[f"{node.name}/kernel"] = kernel * rng.uniform(0.5, 1.5, kernel.shape[3]).astype(np.float32)
        elif isinstance(node, BatchNorm):
            channels = len(weights[f"{node.name}/gamma"])
            weights[f"{node.name}/gamma"] = rng.uniform(0.5, 1.0, channels).astype(np.float32)
            weights[f"{node.name}/beta"] = rng.normal(0, 0.3, channels).astype(np.float32)
    return Model(graph.with_weights(weights), Labels(CLASSES))


def pruned_to_half(model: Model) -> Model:
    """`model` with half of its parameters."""
    graph: Graph = prune_to_ratio(model.graph, PruneOptions(), 0.5).graph
    return Model(graph, Labels(CLASSES), pruned=True)


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
        largest, per_million = code_differences(whole.qdq, images)
        floating, int8, pruned_int8, stock = images_per_second([*engines, theirs], images, rounds)
        return {
            "fp32_images_per_second": floating,
            "int8_vs_fp32": int8 / floating,
            "pruned_int8_vs_fp32": pruned_int8 / floating,
            "onnxruntime_int8_vs_fp32": stock / floating,
            "max_code_difference": largest,
            "codes_that_differ_per_million": per_million,
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


def code_differences(path: Path, images: Array) -> tuple[int, float]:
    """The largest difference of any code of any layer from `Reference`, and how many in a million codes differ."""
    found = engine_codes(path, images)
    expected = Reference(path, found).codes(images)
    differences = [np.abs(found[name] - expected[name]) for name in expected]
    different = sum(int(np.count_nonzero(one)) for one in differences)
    return int(max(one.max() for one in differences)), 1e6 * different / sum(one.size for one in differences)


def engine_codes(path: Path, images: Array) -> dict[str, Array]:
    """Tensor -> its int8 codes -127..127 in the engine on this CPU, [B, c, h, w]."""
    scheme = from_qdq(parse(onnx.load(path)))
    model = lower(scheme, wide_codes=wide_codes_are_exact())
    made = {name for node in model.graph.node for name in node.output}
    names = [name for name in scheme.scales if codes_of(name) in made]
    model.graph.output.extend(
        helper.make_tensor_value_info(codes_of(name), TensorProto.UINT8, None) for name in names
    )
    values = open_session(model, 1).run([codes_of(name) for name in names], {scheme.graph.input: images})
    return {
        name: value.transpose(0, 3, 1, 2).astype(np.int16)
        - (0 if non_negative(scheme.graph, name) else SIGNED_ZERO_POINT)
        for name, value in zip(names, values)
    }


class Reference:
    """TensorRT's arithmetic by the book: the Q/DQ file, node by node, in NumPy and float64; nothing of the engine.

    Dequantized codes times dequantized codes, which float64 adds up without error, plus the float bias and whatever
    is fused; then one rounding, half to even. Each layer reads the engine's own codes of the layers before it:
    otherwise one that differs would hide what the later layers do.
    """

    def __init__(self, path: Path, given: Mapping[str, Array]) -> None:
        graph = onnx.load(path).graph
        self._nodes, self._input, self._given = list(graph.node), graph.input[0].name, given
        self._constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}

    def codes(self, images: Array) -> dict[str, Array]:
        """Tensor -> its codes, [B, c, h, w], for images [B, H, W, C]."""
        found: dict[str, Array] = {}
        values: dict[str, Array] = {**self._constants, self._input: images.transpose(0, 3, 1, 2).astype(np.float64)}
        for node in self._nodes:
            inputs = [values[name] for name in node.input]
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            if node.op_type == "QuantizeLinear":
                name = node.input[0]
                found[name] = np.clip(np.rint(inputs[0] / float(inputs[1])), -CODE_MAX, CODE_MAX).astype(np.int64)
                values[node.output[0]] = self._given[name]
            else:
                values[node.output[0]] = OPERATIONS[node.op_type](inputs, attributes)
        return found


def dequantized(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    """Codes times their scale: one, or one per channel of a kernel."""
    scale = inputs[1].astype(np.float64)
    return inputs[0] * (scale.reshape(-1, 1, 1, 1) if scale.size > 1 else scale)


def convolved(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    """image [1, I, H, W], kernel O I kh kw -> [1, O, h, w] with the bias."""
    top, left, bottom, right = attributes["pads"]
    rows, columns = attributes["strides"]
    padded = np.pad(inputs[0], ((0, 0), (0, 0), (top, bottom), (left, right)))
    kernel = inputs[1].astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(padded[0], kernel.shape[2:], axis=(1, 2))
    windows = windows[:, ::rows, ::columns]
    # One row of the output at a time: all windows of an image at once would take gigabytes.
    matrix = kernel.transpose(1, 2, 3, 0).reshape(-1, len(kernel))
    lines = [
        windows[:, row].transpose(1, 0, 2, 3).reshape(windows.shape[2], -1) @ matrix
        for row in range(windows.shape[1])
    ]
    return np.stack(lines).transpose(2, 0, 1)[None] + inputs[2].reshape(1, -1, 1, 1)


OPERATIONS: dict[str, Callable[[list[Array], Mapping[str, Any]], Array]] = {
    "DequantizeLinear": dequantized,
    "Conv": convolved,
    "Relu": lambda inputs, _: np.maximum(inputs[0], 0),
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Sigmoid": lambda inputs, _: 1 / (1 + np.exp(-inputs[0])),
}


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
