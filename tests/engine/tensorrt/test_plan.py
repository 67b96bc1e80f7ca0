"""How each TensorRT builds: decided without TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qatkit.engine.tensorrt.plan import (
    DEFAULT_WORKSPACE,
    BatchProfile,
    BuildPlan,
    EngineOptions,
    Version,
    build_plan,
    cache_bytes,
    parse_version,
    prefers_qdq,
)
from qatkit.errors import EnvironmentProblem, QatkitError, UsageError
from qatkit.export.cache import CalibrationCache, parse_cache

V8, V10, V10_12, V11 = (8, 6, 1), (10, 3, 0), (10, 12, 0), (11, 4, 0)
ALL = (V8, V10, V10_12, V11)
DATA_TYPES: tuple[Any, ...] = ("fp32", "fp16", "int8")


@pytest.mark.parametrize(
    "text, version",
    [
        ("8.5.3.1", (8, 5, 3)),
        ("8.5.0.12", (8, 5, 0)),
        ("8.6.1", (8, 6, 1)),
        ("10.13.3.9.post1", (10, 13, 3)),
        ("11.0", (11, 0, 0)),
        ("8.6.1.post1", (8, 6, 1)),
    ],
)
def test_versions_as_the_library_writes_them(text: str, version: Version) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "dev", "8.4.3", "7.2.3.4"])
def test_versions_that_are_too_old_or_none(text: str) -> None:
    with pytest.raises(EnvironmentProblem):
        parse_version(text)


@pytest.mark.parametrize("version, network", [(V8, ("EXPLICIT_BATCH",)), (V10, ()), (V10_12, ()), (V11, ())])
def test_fp32_needs_no_precision_flags(version: Version, network: tuple[str, ...]) -> None:
    plan = build_plan(version, EngineOptions(), has_qdq=False, has_cache=False)
    assert plan == BuildPlan("none", network, ())


@pytest.mark.parametrize(
    "version, network, builder, half",
    [
        (V8, ("EXPLICIT_BATCH",), ("FP16",), False),
        (V10, (), ("FP16",), False),
        (V10_12, (), ("FP16",), False),
        (V11, (), (), True),  # the flag is gone: the types of the file decide
    ],
)
def test_fp16_is_a_flag_below_11(
    version: Version, network: tuple[str, ...], builder: tuple[str, ...], half: bool
) -> None:
    plan = build_plan(version, EngineOptions(data_type="fp16"), has_qdq=False, has_cache=False)
    assert (plan.network_flags, plan.builder_flags, plan.half) == (network, builder, half)


@pytest.mark.parametrize("version", [V8, V10, V10_12])
@pytest.mark.parametrize(
    "strict, flags", [(False, ("INT8", "FP16")), (True, ("INT8", "PREFER_PRECISION_CONSTRAINTS"))]
)
def test_a_cache_makes_implicit_quantization_below_11(version: Version, strict: bool, flags: tuple[str, ...]) -> None:
    options = EngineOptions(data_type="int8", strict=strict)
    plan = build_plan(version, options, has_qdq=False, has_cache=True)
    assert (plan.quantization, plan.builder_flags, plan.int8_layers) == ("implicit", flags, strict)
    assert plan.network_flags == (("EXPLICIT_BATCH",) if version == V8 else ())


@pytest.mark.parametrize(
    "version, strict, network, builder",
    [
        (V8, False, ("EXPLICIT_BATCH",), ("INT8", "FP16")),
        (V8, True, ("EXPLICIT_BATCH",), ("INT8",)),
        (V10, False, (), ("INT8", "FP16")),
        ((10, 11, 9), True, (), ("INT8",)),
        (V10_12, False, ("STRONGLY_TYPED",), ()),
        (V10_12, True, ("STRONGLY_TYPED",), ()),
        (V11, False, (), ()),  # strong typing is all there is
    ],
)
def test_qdq_nodes_make_explicit_quantization(
    version: Version, strict: bool, network: tuple[str, ...], builder: tuple[str, ...]
) -> None:
    plan = build_plan(version, EngineOptions(data_type="int8", strict=strict), has_qdq=True, has_cache=False)
    assert (plan.quantization, plan.network_flags, plan.builder_flags) == ("explicit", network, builder)
    assert not plan.half and not plan.int8_layers


@pytest.mark.parametrize(
    "version, data_type, has_qdq, has_cache, flags",
    [
        (V8, "fp16", False, False, ("FP16", "GPU_FALLBACK")),
        (V8, "int8", False, True, ("INT8", "FP16", "GPU_FALLBACK")),
        (V11, "fp16", False, False, ("GPU_FALLBACK",)),
        (V11, "int8", True, False, ("GPU_FALLBACK",)),
    ],
)
def test_what_a_dla_cannot_run_goes_to_the_gpu(
    version: Version, data_type: Any, has_qdq: bool, has_cache: bool, flags: tuple[str, ...]
) -> None:
    plan = build_plan(version, EngineOptions(data_type, dla_core=0), has_qdq=has_qdq, has_cache=has_cache)
    assert plan.builder_flags == flags


@pytest.mark.parametrize(
    "version, data_type, dla, has_qdq, has_cache, message",
    [
        (V8, "int8", None, False, False, "INT8 needs scales"),
        (V11, "int8", None, False, False, "INT8 needs scales"),
        (V10, "fp32", None, False, True, "a calibration cache goes with INT8, not with fp32"),
        (V10, "int8", None, True, True, "TensorRT ignores a calibration cache with it"),
        (V10, "fp16", None, True, False, "the ONNX has Q/DQ nodes, it is INT8"),
        (V11, "int8", None, False, True, "TensorRT 11.4.0 reads no calibration caches (build from the .qdq.onnx)"),
        (V10, "int8", 0, True, False, "the DLA of TensorRT 10.3.0 knows no Q/DQ nodes"),
    ],
)
def test_what_cannot_be_built_is_said_before_it_is_tried(
    version: Version, data_type: Any, dla: int | None, has_qdq: bool, has_cache: bool, message: str
) -> None:
    options = EngineOptions(data_type, dla_core=dla)
    with pytest.raises(UsageError) as error:
        build_plan(version, options, has_qdq=has_qdq, has_cache=has_cache)
    assert message in str(error.value)


def test_every_combination_gives_a_plan_or_a_reason() -> None:
    """No combination of weak-typing flags reaches a strongly typed network, which TensorRT refuses."""
    weak = {"FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS"}
    plans = 0
    for version in ALL:
        for data_type in DATA_TYPES:
            for case in range(16):
                qdq, cached, strict, dla = (bool(case & bit) for bit in (1, 2, 4, 8))
                try:
                    options = EngineOptions(data_type, strict=strict, dla_core=0 if dla else None)
                    plan = build_plan(version, options, has_qdq=qdq, has_cache=cached)
                except QatkitError:
                    continue
                plans += 1
                strong = "STRONGLY_TYPED" in plan.network_flags or version >= (11, 0, 0)
                assert not strong or not weak & set(plan.builder_flags)
    # fp32 2 and fp16 4 of 16 in all four, int8 without DLA: 4 of 16 below 11, 2 from 11 on; with it 2 everywhere.
    assert plans == 4 * (2 + 4) + 3 * 4 + 2 + 4 * 2


@pytest.mark.parametrize(
    "version, dla, qdq",
    [
        (V8, None, False),
        (V10, None, False),
        (V10_12, None, True),
        (V10_12, 0, False),
        (V11, None, True),
        (V11, 0, True),
    ],
)
def test_which_of_the_exported_files_is_built_from(version: Version, dla: int | None, qdq: bool) -> None:
    assert prefers_qdq(version, EngineOptions("int8", dla_core=dla)) is qdq


@pytest.mark.parametrize("sizes", [(0, 1, 1), (2, 1, 4), (1, 8, 4), (-1, -1, -1)])
def test_batch_sizes_out_of_order(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="expected 1 <= min <= opt <= max"):
        BatchProfile(*sizes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"workspace": 4}, "a workspace of 4 bytes is too small"),
        ({"dla_core": 0}, "a DLA computes in FP16 and INT8 only"),
        ({"dla_core": 1, "data_type": "int8", "batch": BatchProfile(1, 4, 4)}, "a DLA takes one batch size only"),
    ],
)
def test_options_that_contradict_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EngineOptions(**changes)


def test_the_default_workspace_is_that_of_tao() -> None:
    assert EngineOptions().workspace == DEFAULT_WORKSPACE == 2147483648


@pytest.mark.parametrize("version, header", [(V8, 8601), (V10, 100300), ((10, 13, 3), 101303)])
def test_a_cache_is_served_with_the_version_of_the_tensorrt_that_reads_it(
    version: Version, header: int, tmp_path: Path
) -> None:
    path = tmp_path / "cal.bin"
    cache = CalibrationCache(8503, {"input_1:0": 1 / 127, "conv [1]: a:0": 6 / 127})
    path.write_text(cache.to_text())
    before = path.read_bytes()
    served = cache_bytes(path, version)
    assert served == before.replace(b"TRT-8503-", f"TRT-{header}-".encode())
    assert parse_cache(served.decode()).scales == parse_cache(before.decode()).scales
    assert path.read_bytes() == before


def test_a_cache_is_served_without_lines_at_which_a_build_would_stop(tmp_path: Path) -> None:
    path = tmp_path / "cal.bin"
    path.write_text("TRT-8601-EntropyCalibration2\na: 0\nb: 3c010204\nc: 7f800000\nd: 31a60d5b\n")
    assert cache_bytes(path, V8) == b"TRT-8601-EntropyCalibration2\nb: 3c010204\nd: 31a60d5b\n"
