"""ONNX Runtime on the CPU: float networks, and INT8 ones by integer arithmetic.

`open_onnx` runs the three forms of an export: the float ONNX, the float ONNX with its calibration cache (what
TensorRT 8 to 10 make of the pair), and the ONNX with Q/DQ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from qatkit import console
from qatkit.engine.base import Array, ModelInfo
from qatkit.engine.int8.bias import UINT8_MAX, integer_sums
from qatkit.engine.int8.conv import Im2colConv, Operands, qlinear_conv
from qatkit.engine.int8.emit import MICROSOFT, SIGNED_ZERO_POINT, Band, Codes, IntegerWriter
from qatkit.engine.int8.graph import OnnxGraph, Op, parse
from qatkit.engine.int8.lowering import lower
from qatkit.engine.int8.report import Int8Report, integer_operations, make_report, without_scale
from qatkit.engine.int8.scheme import Int8Scheme, Kernel, from_cache, from_qdq, has_qdq
from qatkit.engine.model_info import find_heads, model_info
from qatkit.errors import ModelError, UsageError
from qatkit.export.cache import read_cache
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import OPSET
from qatkit.graph.nodes import Shape

if TYPE_CHECKING:
    from qatkit.spec import Experiment


# Optimizations that would scale the products of codes before they are added up.
_INEXACT = ["ConvMulFusion", "ConvAddFusion"]


class OnnxEngine:
    """One ONNX Runtime session on the CPU."""

    name = "onnxruntime"

    def __init__(
        self,
        model: onnx.ModelProto,
        info: ModelInfo,
        outputs: tuple[str, str],
        *,
        precision: str = "fp32",
        nhwc: bool = False,
        threads: int = 0,
        optimized: Path | None = None,
    ) -> None:
        """outputs: names of the coverage and the bbox output. nhwc: whether `model` reads images NHWC.

        optimized: as of `open_session`.
        """
        self.info = info
        self.precision = precision
        self.report: Int8Report | None = None
        self._nhwc = nhwc
        self._outputs = list(outputs)
        self._session = open_session(model, threads, optimized=optimized)
        self._input = self._session.get_inputs()[0].name

    def predict(self, images: Array) -> tuple[Array, Array]:
        """images: [B, H, W, C] in 0..1 -> cov [B, C, h, w] in 0..1, bbox [B, 4C, h, w] in units of box_scale.

        Raises UsageError for images of another size.
        """
        if images.shape[1:] != self.info.input_shape:
            raise UsageError(f"the network takes images {self.info.input_shape}, got {images.shape[1:]}")
        feed = images if self._nhwc else images.transpose(0, 3, 1, 2)
        cov, bbox = self._session.run(self._outputs, {self._input: np.ascontiguousarray(feed, np.float32)})
        return cov, bbox


def open_session(model: onnx.ModelProto, threads: int = 0, *, optimized: Path | None = None) -> ort.InferenceSession:
    """A CPU session with deterministic results. threads: 0 = all cores. optimized: where to write what really runs.

    Raises ModelError when ONNX Runtime refuses the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Its own Q/DQ rewriting would round biases and sums in ways TensorRT does not.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Threads that wait for more work would take the cores from the session that runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=_INEXACT
        )
    except Exception as error:  # ONNX Runtime has a class per status code and no common base.
        raise ModelError(f"ONNX Runtime refuses the network: {error}") from error


def open_onnx(
    path: Path, cal_cache: Path | None = None, spec: Experiment | None = None, threads: int = 0
) -> OnnxEngine:
    """The engine of an ONNX file.

    cal_cache: run the float file in INT8 with this calibration cache, as TensorRT's implicit quantization does.
    spec: names the classes and the box encoding of a file without qatkit's metadata. threads: 0 = all cores.
    Raises ModelError for a damaged file or a cache of another network, UsageError for flags that contradict the file.
    """
    model = load_onnx(path)
    metadata = Metadata.read(model)
    info, outputs = describe(model, path, metadata, spec)
    graph = parse(model)
    if has_qdq(graph):
        if cal_cache is not None:
            raise UsageError(
                f"{path} has Q/DQ nodes: TensorRT ignores a calibration cache with it", hint="leave it out"
            )
        scheme = from_qdq(graph)
        unscaled = []
    elif cal_cache is not None:
        scales = known_scales(graph, cal_cache)
        scheme = from_cache(graph if metadata is not None else parse(_folded(model)), scales)
        unscaled = without_scale(model, scales)
    else:
        return OnnxEngine(model, info, outputs, threads=threads)
    trained = metadata is not None and metadata.qat != "no"
    precision = "int8-qat" if trained else "int8-ptq"
    return int8_engine(scheme, info, outputs, precision=precision, threads=threads, unscaled=unscaled)


def known_scales(graph: OnnxGraph, cal_cache: Path) -> dict[str, float]:
    """The scales of a cache; says how many of its names the network does not have, for TensorRT does not."""
    scales = dict(read_cache(cal_cache).scales)
    if strangers := [name for name in scales if name not in graph.tensors]:
        console.warn(
            f"{cal_cache}: {len(strangers)} of {len(scales)} names are no tensors of the network, such as "
            f"{strangers[0]}; TensorRT ignores them and runs what they were for in float"
        )
    return scales


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with the constants behind a convolution (bias, batch norm) in its kernel, as TensorRT folds them.

    Other exporters leave them as Mul and Add; a folded convolution bears the name of the last tensor.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def int8_engine(
    scheme: Int8Scheme,
    info: ModelInfo,
    outputs: tuple[str, str],
    *,
    precision: str = "int8",
    threads: int = 0,
    unscaled: Collection[str] = (),
) -> OnnxEngine:
    """The engine that computes `scheme` with integers. unscaled: the tensors that the cache has no scale for."""
    model = lower(scheme, wide_codes=wide_codes_are_exact())
    # What was handed to ONNX Runtime is not yet what it runs. To have the latter written takes a few milliseconds.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        engine = OnnxEngine(model, info, outputs, precision=precision, nhwc=True, threads=threads, optimized=path)
        engine.report = make_report(scheme, integer_operations(path), unscaled)
    return engine


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, brought to the opset that the exporter writes where it is older.

    Raises ModelError for a file that is missing, damaged or no detector.
    """
    try:
        model = onnx.load(path)
        opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
        if opset < OPSET:
            model = _with_opset(model)
        onnx.checker.check_model(model)
    except OSError as error:
        raise ModelError(f"{path}: cannot read this model: {error.strerror or error}") from error
    except Exception as error:  # protobuf, checker and version converter have no common base
        raise ModelError(f"{path}: damaged, or no ONNX file: {str(error).splitlines()[0][:200]}") from error
    return model


def _with_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    properties = {item.key: item.value for item in model.metadata_props}
    converted = onnx.version_converter.convert_version(model, OPSET)
    helper.set_model_props(converted, properties)
    return converted


def describe(
    model: onnx.ModelProto, path: Path, metadata: Metadata | None, spec: Experiment | None
) -> tuple[ModelInfo, tuple[str, str]]:
    """What the tensors of the network in `path` mean, and the names of its coverage and bbox output."""
    info = model_info(image_shape(model, path), metadata, spec, path)
    return info, output_names(model, path)


def image_shape(model: onnx.ModelProto, path: Path) -> Shape:
    """Height, width and channels of the images. Raises ModelError when the file leaves them open."""
    channels, height, width = parse(model).image
    if min(channels, height, width) < 1:
        raise ModelError(f"{path}: the size of its images is not fixed")
    return height, width, channels


def output_names(model: onnx.ModelProto, path: Path) -> tuple[str, str]:
    """Names of the coverage and the bbox output. Raises ModelError for outputs of another network."""
    dimensions = {output.name: output.type.tensor_type.shape.dim for output in model.graph.output}
    return find_heads({name: dims[1].dim_value if len(dims) > 1 else 0 for name, dims in dimensions.items()}, path)


@cache
def wide_codes_are_exact() -> bool:
    """Whether this CPU multiplies uint8 codes up to 255 with int8 weights exactly, by trying.

    Kernels for AVX2 and AVX-512 without VNNI add pairs of products in int16, where 2 * 255 * 127 overflows.
    """
    channels, filters = 64, 32
    writer = IntegerWriter()
    source = Codes("x", 1.0, SIGNED_ZERO_POINT)
    kernel = Kernel(np.full((filters, channels, 3, 3), 127, np.int8), np.ones(filters, np.float32))
    operands = Operands(source, kernel, np.zeros(filters, np.float32))
    first, second = (Op("Conv", ("x", "w"), (name,), {"kernel_shape": [3, 3]}) for name in "yz")
    full = float(127 * 127 * channels * 9)
    unrolled = Im2colConv(writer, first, operands, {"x": (8, 8), "y": (6, 6)})
    writer.op("Identity", [unrolled.products(Band(0, 6))], "sums")
    # The sum is 100 codes above the zero point.
    sums = integer_sums(kernel.codes, np.full(filters, 100 / full), np.zeros(filters), UINT8_MAX)
    assert sums is not None  # there is no bias
    writer.op("Identity", [qlinear_conv(writer, second, source, kernel.codes, sums, SIGNED_ZERO_POINT)], "codes")
    image = helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 8, 8, channels])
    outputs = [
        helper.make_tensor_value_info("sums", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("codes", TensorProto.UINT8, None),
    ]
    body = helper.make_graph(writer.nodes, "probe", [image], outputs, list(writer.constants.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    session = open_session(helper.make_model(body, opset_imports=opsets, ir_version=8), threads=1)
    products, codes = session.run(None, {"x": np.full((1, 8, 8, channels), 255, np.uint8)})
    return bool((products == full).all() and (codes == SIGNED_ZERO_POINT + 100).all())
