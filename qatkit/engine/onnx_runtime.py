"""ONNX Runtime on the CPU: float networks, and INT8 ones by integer arithmetic.

`open_onnx` runs the three forms of an export: the float ONNX, the float ONNX with its calibration cache (what
TensorRT 8 to 10 make of the pair), and the ONNX with Q/DQ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import Array, ModelInfo, in_batches
from qatkit.engine.int8.graph import parse
from qatkit.engine.int8.lowering import lower
from qatkit.engine.int8.probe import wide_codes_are_exact
from qatkit.engine.int8.report import Int8Report, integer_operations, make_report, without_scale
from qatkit.engine.int8.scheme import Int8Scheme, from_cache, from_qdq
from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.session import open_session
from qatkit.errors import UsageError


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
        batch: int = 0,
        threads: int = 0,
        optimized: Path | None = None,
    ) -> None:
        """outputs: names of the coverage and the bbox output. nhwc: whether `model` reads images NHWC.

        batch: the number of images that it takes at once; 0 = any.

        optimized: as of `open_session`.
        """
        self.info = info
        self.precision = precision
        self.report: Int8Report | None = None
        self._nhwc = nhwc
        self._batch = batch
        self._outputs = list(outputs)
        self._session = open_session(model, threads, optimized=optimized)
        self._input = self._session.get_inputs()[0].name

    def predict(self, images: Array) -> tuple[Array, Array]:
        """See `Engine`."""
        self.info.check(images)
        return in_batches(self._run, images, self._batch)

    def _run(self, images: Array) -> tuple[Array, Array]:
        feed = images if self._nhwc else images.transpose(0, 3, 1, 2)
        cov, bbox = self._session.run(self._outputs, {self._input: np.ascontiguousarray(feed, np.float32)})
        return cov, bbox


def open_onnx(
    file: OnnxFile | Path, cal_cache: Path | None = None, labels: Labels | None = None, threads: int = 0
) -> OnnxEngine:
    """The engine of an ONNX file.

    cal_cache: run the float file in INT8 with this calibration cache, as TensorRT's implicit quantization does.
    labels: what the outputs of a file without qatkit's metadata mean. threads: 0 = all cores.
    Raises ModelError for a damaged file or a cache of another network, UsageError for flags that contradict the file.
    """
    file = OnnxFile.read(file) if isinstance(file, Path) else file
    info = file.info(labels)
    unscaled: Collection[str] = ()
    if file.has_qdq:
        if cal_cache is not None:
            raise UsageError(
                f"{file.path} has Q/DQ nodes: TensorRT ignores a calibration cache with it", hint="leave it out"
            )
        scheme = from_qdq(file.graph)
    elif cal_cache is not None:
        scales = file.scales(cal_cache)
        scheme = from_cache(parse(_folded(file.proto)) if file.metadata is None else file.graph, scales)
        unscaled = without_scale(file, scales)
    else:
        return OnnxEngine(file.proto, info, file.heads, batch=file.batch, threads=threads)
    return _int8_engine(file, scheme, info, unscaled, threads)


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


def _int8_engine(
    file: OnnxFile, scheme: Int8Scheme, info: ModelInfo, unscaled: Collection[str], threads: int
) -> OnnxEngine:
    """The engine that computes `scheme` with integers. unscaled: the tensors that the cache has no scale for."""
    model, precision = lower(scheme, wide_codes=wide_codes_are_exact()), file.int8_precision
    # What was handed to ONNX Runtime is not yet what it runs. To have the latter written takes a few milliseconds.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        engine = OnnxEngine(
            model,
            info,
            file.heads,
            precision=precision,
            nhwc=True,
            batch=file.batch,
            threads=threads,
            optimized=path,
        )
        engine.report = make_report(scheme, integer_operations(path), unscaled)
    return engine
