"""What TensorRT 8.5.3 fused, layer by layer as its engine inspector tells, against what we say that it fuses.

The lists are of two engines of a pruned ResNet10 that were built from ONNX and calibration cache; they lie with the
networks in a folder beside the checkout, or in the one that QATKIT_SHARED names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import pytest

from qatkit.engine.int8.graph import parse
from qatkit.engine.int8.scheme import Int8Scheme, from_cache
from qatkit.export.cache import read_cache
from qatkit.graph.build import build
from qatkit.graph.nodes import BatchNorm
from qatkit.quantization.kernels import int8_kernels
from qatkit.quantization.placement import place
from tests.support.backbones import config
from tests.support.tensorrt_data import FOLDER, needed

ENGINES = {"qat": "cal.bin", "wide": "ptq.bin"}

pytestmark = needed


@dataclass(frozen=True)
class Kernel:
    """reads, writes: tensors, each with whether it holds INT8."""

    layers: tuple[str, ...]
    reads: frozenset[tuple[str, bool]]
    writes: tuple[str, bool]


def of_tensorrt(engine: str) -> set[Kernel]:
    """The kernels of an engine, without those that only bring a tensor into another format."""
    entries = json.loads((FOLDER / "layers.json").read_text())[f"{engine}/tensorrt_cache"]
    original = {}
    kernels = set()
    for entry in entries:
        reads, (writes,) = tensors(entry["inputs"]), tensors(entry["outputs"])
        if entry["kind"] == "Reformat":
            original[writes[0]] = reads[0][0]
            continue
        layers = entry["layer"].removeprefix("PWN(").removesuffix(")").split(" + ")
        kernels.add(
            Kernel(tuple(layers), frozenset((original.get(name, name), int8) for name, int8 in reads), writes)
        )
    return kernels


def tensors(text: str) -> list[tuple[str, bool]]:
    """`name|format;name|format` -> the names, and whether the format is INT8."""
    found = [part.rsplit("|", 1) for part in text.split(";")]
    assert all("Int8" in layout or "FP32" in layout for _, layout in found)
    return [(name, "Int8" in layout) for name, layout in found]


def of_ours(engine: str, without: str = "") -> set[Kernel]:
    """What our engine makes of ONNX and cache: INT8 kernels, those with a float result, and the float rest.

    without: a tensor whose scale is left out.
    """
    model = onnx.load(FOLDER / engine / "model.onnx")
    scales = read_cache(FOLDER / engine / ENGINES[engine]).scales
    scheme = from_cache(parse(model), {name: scale for name, scale in scales.items() if name != without})
    names = {tensor: node.name for node in model.graph.node for tensor in node.output}
    return set(kernels_of(scheme, names))


def kernels_of(scheme: Int8Scheme, names: dict[str, str]) -> Iterator[Kernel]:
    inside = set()
    for block in scheme.blocks.values():
        inside |= {op.output for op in block.ops}
        reads = frozenset((name, name in scheme.scales) for name in block.reads)
        yield Kernel(tuple(names[op.output] for op in block.ops), reads, (block.end, block.end in scheme.scales))
    for op in scheme.graph.ops:
        if op.output in inside:
            continue
        read = [name for name in op.inputs if name not in scheme.graph.constants]
        in_int8 = op.kind != "Conv" or op.output in scheme.kernels
        reads = frozenset((name, in_int8 and name in scheme.scales) for name in read)
        yield Kernel((names[op.output],), reads, (op.output, False))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_fuses_what_tensorrt_fuses(engine: str) -> None:
    found, expected = of_ours(engine), of_tensorrt(engine)
    assert len(expected) == 16
    assert found == expected


def test_two_heads_read_int8_and_write_float() -> None:
    heads = [
        kernel for kernel in of_tensorrt("qat") if kernel.layers[0].startswith("output_") and len(kernel.reads) == 1
    ]
    formats = sorted((kernel.layers[0], *(int8 for _, int8 in kernel.reads), kernel.writes[1]) for kernel in heads)
    assert formats == [
        ("output_bbox", True, False),
        ("output_cov", True, False),
        ("output_cov/Sigmoid", False, False),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_scale_is_another_engine(engine: str) -> None:
    """The convolution that reads the tensor is float, and the sum rides on the shortcut instead."""
    found = of_ours(engine, without="block_2a_relu_1/Relu:0")
    changed = {kernel.layers[0] for kernel in found ^ of_tensorrt(engine)}
    assert changed == {"block_2a_conv_1", "block_2a_relu_1", "block_2a_conv_2", "block_2a_conv_shortcut"}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_plan_names_the_kernels_of_tensorrt(engine: str) -> None:
    """What `export --show_plan` prints. A batch norm is in its convolution's kernel; with Q/DQ heads are float."""
    graph = build(config("resnet", 10, all_projections=True), (192, 320, 3), 1, seed=0)
    plan = place(graph, "tensorrt")
    kernels = int8_kernels(graph, plan)
    found = {tuple(name for name in one.layers if not isinstance(graph[name], BatchNorm)) for one in kernels}
    expected = {kernel.layers for kernel in of_tensorrt(engine) if kernel.writes[1]}
    assert len(expected) == 13
    assert found == expected
    for kernel in kernels:
        assert all(plan.range_source(name) is not None for name in kernel.reads), kernel
    assert not {"output_bbox", "output_cov"} & {name for kernel in kernels for name in kernel.layers}
