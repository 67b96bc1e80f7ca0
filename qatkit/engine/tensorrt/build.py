"""ONNX -> TensorRT engine, with the TensorRT that is installed (8.5 to 11)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatkit import console
from qatkit.engine.onnx_file import OnnxFile
from qatkit.engine.tensorrt.library import create, last_error, load_tensorrt, new_log
from qatkit.engine.tensorrt.plan import BatchProfile, BuildPlan, EngineOptions, build_plan, cache_bytes, version_text
from qatkit.engine.tensorrt.sidecar import EngineSidecar, fingerprint
from qatkit.errors import EnvironmentProblem, ModelError
from qatkit.export.half_precision import to_float16
from qatkit.files import write_bytes


@dataclass(frozen=True)
class _Scales:
    """A calibration cache: the bytes that TensorRT reads, and the names of the tensors in it."""

    content: bytes
    names: Collection[str]


def build_engine(file: OnnxFile, engine: Path, options: EngineOptions, cache: Path | None = None) -> EngineSidecar:
    """Build the engine of an ONNX file, write it to `engine` and its sidecar beside it; return the sidecar.

    cache: calibration cache of a clean ONNX. Raises EnvironmentProblem where TensorRT, a GPU or the DLA is missing
    or the build fails, UsageError for what this TensorRT does not build, ModelError for a damaged file.
    """
    trt, version = load_tensorrt()
    plan = build_plan(version, options, has_qdq=file.has_qdq, has_cache=cache is not None)
    scales = None if cache is None else _Scales(cache_bytes(cache, version), _checked_names(file, cache))
    content = to_float16(file.proto).SerializeToString() if plan.half else file.path.read_bytes()
    serialized = _Builder(trt, options, plan, scales).build(content, file.path)
    write_bytes(engine, serialized)
    sidecar = EngineSidecar(
        precision=file.int8_precision if options.data_type == "int8" else options.data_type,
        outputs=file.heads,
        onnx=file.path.name,
        tensorrt=version_text(version),
        dla_core=options.dla_core,
        metadata=file.metadata,
        sha256=fingerprint(serialized),
    )
    sidecar.write(engine)
    return sidecar


def _checked_names(file: OnnxFile, cache: Path) -> Collection[str]:
    """Names of the tensors with a scale; says how many have none."""
    names, tensors = file.scales(cache), file.graph.tensors
    if missing := sorted(tensors - names.keys()):
        console.warn(
            f"{cache}: {len(missing)} of {len(tensors)} tensors have no scale, such as {missing[0]}; what "
            "TensorRT does not fuse away of them runs in float"
        )
    return names.keys()


class _Builder:
    """One build."""

    def __init__(self, trt: Any, options: EngineOptions, plan: BuildPlan, scales: _Scales | None) -> None:
        self.trt = trt
        self.options = options
        self.plan = plan
        self.scales = scales
        self.log = new_log(trt)
        self.builder = create(trt.Builder, self.log)

    def build(self, content: bytes, path: Path) -> bytes:
        """The serialized engine of the ONNX `content`, which is that of the file `path`."""
        network = self.builder.create_network(self._bits("NetworkDefinitionCreationFlag", self.plan.network_flags))
        # The parser must live until the engine is built: it owns the weights.
        parser = self.trt.OnnxParser(network, self.log)
        if not parser.parse(content, str(path)):
            reason = parser.get_error(0).desc() if parser.num_errors else "it does not say why"
            raise ModelError(f"{path}: TensorRT cannot read this ONNX: {reason}")
        config = self._config(network)
        # TensorRT holds it by a bare pointer.
        calibrator = self._calibrate(config, network)
        serialized = self.builder.build_serialized_network(network, config)
        if serialized is None:
            refused = calibrator is not None and calibrator.asked_for_images
            what = "does not accept the calibration cache" if refused else "could not build the engine"
            raise EnvironmentProblem(f"{path}: TensorRT {what}{last_error(self.log)}")
        return bytes(serialized)

    def _bits(self, kind: str, names: Sequence[str]) -> int:
        flags = getattr(self.trt, kind)
        return sum(1 << int(getattr(flags, name)) for name in names)

    def _config(self, network: Any) -> Any:
        trt, config = self.trt, self.builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.options.workspace)
        for name in self.plan.builder_flags:
            config.set_flag(getattr(trt.BuilderFlag, name))
        if self.options.dla_core is not None:
            self._use_dla(config, self.options.dla_core)
        if self._dynamic(network):
            config.add_optimization_profile(self._profile(network, self.options.batch))
        if self.plan.int8_layers:
            self._ask_for_int8(network)
        return config

    def _use_dla(self, config: Any, core: int) -> None:
        cores = self.builder.num_DLA_cores
        if core >= cores:
            raise EnvironmentProblem(
                f"--dla_core {core}: TensorRT {self.trt.__version__} finds {cores} DLA cores here",
                hint="Jetson has them, with TensorRT up to 10.7 or from 11.4",
            )
        config.default_device_type = self.trt.DeviceType.DLA
        config.DLA_core = core

    @staticmethod
    def _dynamic(network: Any) -> bool:
        return bool(network.get_input(0).shape[0] == -1)

    def _profile(self, network: Any, batch: BatchProfile) -> Any:
        source = network.get_input(0)
        image = tuple(source.shape)[1:]
        profile = self.builder.create_optimization_profile()
        sizes = (batch.minimum, batch.optimum, batch.maximum)
        profile.set_shape(source.name, *((size, *image) for size in sizes))
        return profile

    def _calibrate(self, config: Any, network: Any) -> Any:
        """Let the builder read the scales; return the calibrator that hands them out."""
        if self.scales is None:
            return None
        calibrator = _calibrator(self.trt, self.scales.content)
        config.int8_calibrator = calibrator
        if self._dynamic(network):
            usual = self.options.batch.optimum
            config.set_calibration_profile(self._profile(network, BatchProfile(usual, usual, usual)))
        return calibrator

    def _ask_for_int8(self, network: Any) -> None:
        """INT8 for the layers whose outputs all have scales, but for those that make the network's outputs."""
        assert self.scales is not None  # only implicit quantization asks layer by layer
        float_names = {network.get_output(index).name for index in range(network.num_outputs)}
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            names = {layer.get_output(position).name for position in range(layer.num_outputs)}
            if names and names <= set(self.scales.names) - float_names:
                layer.precision = self.trt.int8


def _calibrator(trt: Any, cache: bytes) -> Any:
    """A calibrator without images, which serves `cache`."""

    class CacheCalibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.asked_for_images = False

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: Sequence[str]) -> None:
            # An exception in here ends the process, for TensorRT calls it from code that must not throw.
            self.asked_for_images = True

        def read_calibration_cache(self) -> bytes:
            return cache

        def write_calibration_cache(self, cache: Any) -> None:
            """The cache stays as it is."""

    return CacheCalibrator()
