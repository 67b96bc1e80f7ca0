"""TensorRT engines on the GPU, through pycuda."""

from __future__ import annotations

import atexit
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import Array, ModelInfo, chunks, find_heads
from qatkit.engine.tensorrt.library import create, last_error, load_cuda, load_tensorrt, new_log
from qatkit.engine.tensorrt.sidecar import EngineSidecar
from qatkit.errors import EnvironmentProblem, ModelError


def open_tensorrt(path: Path, labels: Labels | None = None) -> TensorRTEngine:
    """The engine in the file `path`; what it does not say of itself is in its sidecar, or in `labels`.

    Raises EnvironmentProblem where TensorRT, pycuda or a GPU is missing, ModelError for an engine that was built by
    another TensorRT or for another GPU, or is no detector, UsageError when nothing names its classes.
    """
    load_tensorrt()
    content = path.read_bytes()
    sidecar = EngineSidecar.read(path, content)
    device = _Device(content, path, None if sidecar is None else sidecar.dla_core)
    return TensorRTEngine(device, sidecar, labels, path)


class TensorRTEngine:
    """Runs an engine; more images than it takes at once go through it in parts."""

    name = "tensorrt"

    def __init__(self, device: _Device, sidecar: EngineSidecar | None, labels: Labels | None, path: Path) -> None:
        channels, height, width = device.input.shape[1:]
        metadata = None if sidecar is None else sidecar.metadata
        self.info = ModelInfo.of((height, width, channels), metadata, labels, path)
        self.precision = "unknown" if sidecar is None else sidecar.precision
        self._device = device
        channels_of = {tensor.name: tensor.shape[1] if len(tensor.shape) == 4 else 0 for tensor in device.outputs}
        self._heads = find_heads(channels_of, path)

    def predict(self, images: Array) -> tuple[Array, Array]:
        """See `Engine`."""
        self.info.check(images)
        parts = [self._device.run(images[part]) for part in chunks(len(images), self._device.largest)]
        cov, bbox = (np.concatenate([part[name] for part in parts]) for name in self._heads)
        return cov, bbox


@dataclass(frozen=True)
class _Tensor:
    """An input or output. shape: with the largest batch. host, memory: its page-locked copy and that on the GPU."""

    name: str
    shape: tuple[int, ...]
    host: np.ndarray[Any, Any]
    memory: Any


class _Device:
    """A deserialized engine with one execution context and buffers for its largest batch."""

    def __init__(self, content: bytes, path: Path, dla_core: int | None) -> None:
        self._trt, _ = load_tensorrt()
        self._cuda = load_cuda()
        self._log = new_log(self._trt)
        self._engine = self._deserialize(content, path, dla_core)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EnvironmentProblem(f"{path}: TensorRT cannot run this engine{last_error(self._log)}")
        self._stream = self._cuda.Stream()
        source, targets = self._names(path)
        self.least, self.largest = self._batch_limits(source)
        image = tuple(self._engine.get_tensor_shape(source))[1:]
        self._context.set_input_shape(source, (self.largest, *image))
        self.input = self._allocate(source)
        self.outputs = [self._allocate(name) for name in targets]
        # Before pycuda gives its CUDA context back, which it does at exit too: what was registered last runs first.
        atexit.register(self._release)

    def run(self, images: Array) -> dict[str, Array]:
        """images: [B, H, W, C], at most `largest` -> output name -> [B, ...], in memory of its own."""
        count = max(len(images), self.least)
        source = self.input
        source.host[: len(images)] = images.transpose(0, 3, 1, 2)
        # An engine may take no fewer than `least`: the rest of the batch is black, its results are dropped.
        source.host[len(images) : count] = 0
        self._context.set_input_shape(source.name, (count, *source.shape[1:]))
        self._cuda.memcpy_htod_async(source.memory, source.host[:count], self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise EnvironmentProblem(f"TensorRT could not run the engine{last_error(self._log)}")
        for target in self.outputs:
            self._cuda.memcpy_dtoh_async(target.host[:count], target.memory, self._stream)
        self._stream.synchronize()
        return {target.name: target.host[: len(images)].astype(np.float32) for target in self.outputs}

    def _deserialize(self, content: bytes, path: Path, dla_core: int | None) -> Any:
        runtime = create(self._trt.Runtime, self._log)
        if dla_core is not None:
            runtime.DLA_core = dla_core
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise ModelError(
                f"{path}: TensorRT {self._trt.__version__} cannot read this engine{last_error(self._log)}",
                hint="an engine runs on the GPU and with the TensorRT that built it",
            )
        return engine

    def _names(self, path: Path) -> tuple[str, list[str]]:
        """Names of the input and of the outputs."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        if len(inputs) != 1 or len(self._engine.get_tensor_shape(inputs[0])) != 4:
            raise ModelError(f"{path}: its inputs are {', '.join(inputs)}; a detector has one, images N, C, H, W")
        return inputs[0], [name for name in names if name not in inputs]

    def _batch_limits(self, source: str) -> tuple[int, int]:
        """The smallest and the largest batch."""
        fixed = self._engine.get_tensor_shape(source)[0]
        if fixed != -1:
            return fixed, fixed
        least, _, largest = self._engine.get_tensor_profile_shape(source, 0)
        return least[0], largest[0]

    def _allocate(self, name: str) -> _Tensor:
        """Memory for a tensor, as large as it is now, with the largest batch."""
        shape = tuple(self._context.get_tensor_shape(name))
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        memory = self._cuda.mem_alloc(math.prod(shape) * dtype.itemsize)
        self._context.set_tensor_address(name, int(memory))
        return _Tensor(name, shape, self._cuda.pagelocked_empty(shape, dtype), memory)

    def _release(self) -> None:
        self.outputs = []
        del self.input, self._context, self._engine, self._stream
