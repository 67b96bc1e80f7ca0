"""Engines of ONNX files: float, with a cache, with Q/DQ; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from qatkit.detectnet.labels import Labels
from qatkit.engine.int8.lowering import lower
from qatkit.engine.int8.probe import wide_codes_are_exact
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.engine.session import open_session
from qatkit.errors import ModelError, UsageError
from qatkit.export.cache import from_ranges, write_cache
from qatkit.export.deployed import deploy
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import to_onnx
from tests.support.exported import METADATA, Exported, exported, images_for
from tests.support.networks import residual
from tests.support.reference import evaluate, nchw


@pytest.fixture
def export() -> Exported:
    return exported(residual(projection=True), qat=True)


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def save_cache(export: Exported, path: Path) -> Path:
    ranges = export.tensor_ranges()
    write_cache(path, from_ranges(ranges), list(ranges))
    return path


def test_a_float_file_computes_the_network(export: Exported, tmp_path: Path) -> None:
    engine = open_onnx(save(export.clean, tmp_path / "model.onnx"))
    assert (engine.name, engine.precision, engine.report) == ("onnxruntime", "fp32", None)
    assert engine.info.input_shape == (16, 24, 3)
    assert engine.info.labels == Labels(("car", "person"), 35.0, 0.5)
    images = images_for(export.graph)
    cov, bbox = engine.predict(images)
    values = evaluate(export.graph, images)
    assert_allclose(cov, nchw(values["output_cov/Sigmoid"]), atol=1e-5)
    assert_allclose(bbox, nchw(values["output_bbox"]), atol=1e-4)


def test_the_pair_of_file_and_cache_is_the_qdq_file(export: Exported, tmp_path: Path) -> None:
    pair = open_onnx(save(export.clean, tmp_path / "model.onnx"), cal_cache=save_cache(export, tmp_path / "cal.bin"))
    explicit = open_onnx(save(export.qdq, tmp_path / "model.qdq.onnx"), threads=1)
    assert (pair.precision, explicit.precision) == ("int8-ptq", "int8-ptq")
    images = images_for(export.graph)
    for one, two in zip(pair.predict(images), explicit.predict(images)):
        assert_array_equal(one, two)


def test_the_report_counts_what_runs_in_integers(export: Exported, tmp_path: Path) -> None:
    report = open_onnx(save(export.qdq, tmp_path / "model.qdq.onnx")).report
    assert report is not None
    assert report.summary() == "4 of 6 convolutions in INT8, 4 of them by integer operations; 5 INT8 tensors"
    assert report.operations == {"QLinearConv": 3, "MatMulIntegerToFloat": 1}
    assert list(report.floating) == ["output_bbox/BiasAdd:0", "output_cov/BiasAdd:0"]
    assert (report.missing_scales, report.fused) == ((), ())  # Q/DQ says all


def test_the_integer_operations_are_those_that_onnx_runtime_runs(export: Exported, tmp_path: Path) -> None:
    """Not those of the network that was handed to it, which its optimizations change."""
    report = open_onnx(save(export.qdq, tmp_path / "model.qdq.onnx")).report
    written = lower(export.explicit(), wide_codes=wide_codes_are_exact())
    open_session(written, 1, optimized=tmp_path / "optimized.onnx")
    models = (written, onnx.load(tmp_path / "optimized.onnx"))
    kinds = [[node.op_type for node in model.graph.node] for model in models]
    assert kinds[0] != kinds[1]
    assert report is not None
    assert report.operations == {kind: kinds[1].count(kind) for kind in ("QLinearConv", "MatMulIntegerToFloat")}


def test_scales_that_a_cache_lacks(export: Exported, tmp_path: Path) -> None:
    pair = open_onnx(save(export.clean, tmp_path / "model.onnx"), cal_cache=save_cache(export, tmp_path / "cal.bin"))
    assert pair.report is not None
    assert pair.report.missing_scales == ("output_bbox/BiasAdd:0", "output_cov/BiasAdd:0", "output_cov/Sigmoid:0")
    assert pair.report.fused == (
        *("stem_bn/batchnorm/add_1:0", "a_bn/batchnorm/add_1:0", "b_bn/batchnorm/add_1:0", "sum/add:0"),
    )


@pytest.mark.parametrize("qat, precision", [("no", "int8-ptq"), ("tensorrt", "int8-qat")])
def test_the_precision_tells_how_the_ranges_were_found(
    export: Exported, tmp_path: Path, qat: str, precision: str
) -> None:
    Metadata(METADATA.labels, 2, qat=qat).write(export.qdq)
    assert open_onnx(save(export.qdq, tmp_path / "model.onnx")).precision == precision


def test_images_of_another_size_are_refused(export: Exported, tmp_path: Path) -> None:
    engine = open_onnx(save(export.clean, tmp_path / "model.onnx"))
    with pytest.raises(UsageError, match=r"takes images \(16, 24, 3\), got \(16, 16, 3\)"):
        engine.predict(np.zeros((1, 16, 16, 3), np.float32))


def test_a_cache_with_a_qdq_file_is_refused(export: Exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has Q/DQ nodes"):
        open_onnx(save(export.qdq, tmp_path / "model.onnx"), cal_cache=save_cache(export, tmp_path / "cal.bin"))


@pytest.mark.parametrize("content", [None, b"", b"no model at all", b"\x08\x07" * 40])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        open_onnx(path)


def strange(export: Exported) -> onnx.ModelProto:
    """A file of another tool: no metadata, other names."""
    del export.clean.metadata_props[:]
    return export.clean


LABELS = Labels(("a", "b"), 20.0, 0.25)


def test_a_strange_file_needs_the_spec(export: Exported, tmp_path: Path) -> None:
    path = save(strange(export), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="does not say what its classes are"):
        open_onnx(path)
    assert open_onnx(path, labels=LABELS).info.labels == LABELS


def test_outputs_of_other_names_are_told_apart_by_their_channels(export: Exported, tmp_path: Path) -> None:
    names = {"output_cov/Sigmoid:0": "first", "output_bbox/BiasAdd:0": "second"}
    for item in (*export.clean.graph.node, export.clean.graph):
        for value in item.output:
            if isinstance(value, str):
                continue
            value.name = names[value.name]
    for node in export.clean.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
    cov, bbox = open_onnx(save(export.clean, tmp_path / "model.onnx")).predict(images_for(export.graph))
    assert (cov.shape[1], bbox.shape[1]) == (2, 8)


def test_a_file_that_is_no_detector_is_refused(export: Exported, tmp_path: Path) -> None:
    del export.clean.graph.output[0]
    with pytest.raises(ModelError, match="has 1 outputs"):
        open_onnx(save(export.clean, tmp_path / "model.onnx"))


def test_names_without_suffix_work_too(tmp_path: Path) -> None:
    graph = residual(projection=False).graph()
    deployed = deploy(graph, "uff")
    path = save(to_onnx(deployed, METADATA), tmp_path / "model.onnx")
    ranges = dict.fromkeys(deployed.tensors.values(), 4.0)
    write_cache(tmp_path / "cal.bin", from_ranges(ranges), list(ranges))
    report = open_onnx(path, cal_cache=tmp_path / "cal.bin").report
    assert report is not None
    assert report.integer == 3


def test_an_older_opset_is_read(export: Exported, tmp_path: Path) -> None:
    images = images_for(export.graph)
    expected = open_onnx(save(export.clean, tmp_path / "new.onnx")).predict(images)
    old = export.clean
    old.opset_import[0].version = 12  # of its operations only Clip and Pad would differ
    cache = save_cache(export, tmp_path / "cal.bin")
    path = save(old, tmp_path / "old.onnx")
    assert_allclose(open_onnx(path).predict(images)[0], expected[0], atol=1e-6)
    report = open_onnx(path, cal_cache=cache).report
    assert report is not None
    assert report.integer == 4


def unfolded() -> tuple[onnx.ModelProto, list[str]]:
    """A detector as NVIDIA publishes them: bias and batch norm are operations behind the convolution.

    Also the tensors that its cache names: input, activation, and the outputs.
    """
    rng = np.random.default_rng(0)
    vector = {name: rng.uniform(0.5, 1.5, (1, 4, 1, 1)).astype(np.float32) for name in ("bias", "scale", "shift")}
    constants = {
        **vector,
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "cov": rng.normal(size=(2, 4, 1, 1)).astype(np.float32),
        "bbox": rng.normal(size=(8, 4, 1, 1)).astype(np.float32),
    }
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["input_1:0", "kernel"], ["conv1/convolution:0"], pads=[1, 1, 1, 1]),
        make("Add", ["conv1/convolution:0", "bias"], ["conv1/BiasAdd:0"]),
        make("Mul", ["conv1/BiasAdd:0", "scale"], ["bn_conv1/batchnorm/mul_1:0"]),
        make("Add", ["bn_conv1/batchnorm/mul_1:0", "shift"], ["bn_conv1/batchnorm/add_1:0"]),
        make("Relu", ["bn_conv1/batchnorm/add_1:0"], ["activation_1/Relu:0"]),
        make("Conv", ["activation_1/Relu:0", "bbox"], ["output_bbox/BiasAdd:0"]),
        make("Conv", ["activation_1/Relu:0", "cov"], ["output_cov/BiasAdd:0"]),
        make("Sigmoid", ["output_cov/BiasAdd:0"], ["output_cov/Sigmoid:0"]),
    ]

    def info(name: str, channels: int) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", channels, 16, 24])

    graph = onnx.helper.make_graph(
        nodes,
        "strange",
        [info("input_1:0", 3)],
        [info("output_cov/Sigmoid:0", 2), info("output_bbox/BiasAdd:0", 8)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)
    return model, ["input_1:0", *(name for node in nodes for name in node.output)]


def test_batch_norm_left_behind_a_convolution_is_folded_as_tensorrt_does(tmp_path: Path) -> None:
    model, tensors = unfolded()
    path = save(model, tmp_path / "model.onnx")
    inner = ("conv1/convolution:0", "conv1/BiasAdd:0", "bn_conv1/batchnorm/mul_1:0", "bn_conv1/batchnorm/add_1:0")
    ranges = {name: 1.0 if name == "input_1:0" else 30.0 for name in tensors if name not in inner}
    write_cache(tmp_path / "cal.bin", from_ranges(ranges), tensors)
    engine = open_onnx(path, cal_cache=tmp_path / "cal.bin", labels=LABELS)
    assert engine.report is not None
    assert (engine.report.quantized, engine.report.integer) == (1, 1)
    assert (engine.report.missing_scales, engine.report.fused) == ((), inner)
    images = np.random.default_rng(1).uniform(size=(1, 16, 24, 3)).astype(np.float32)
    for exact, rounded in zip(open_onnx(path, labels=LABELS).predict(images), engine.predict(images)):
        assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_names_that_the_network_lacks_are_reported(
    export: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = {**export.tensor_ranges(), "conv9/BiasAdd:0": 1.0}
    write_cache(tmp_path / "cal.bin", from_ranges(ranges), list(ranges))
    open_onnx(save(export.clean, tmp_path / "model.onnx"), cal_cache=tmp_path / "cal.bin")
    assert "1 of 6 names are no tensors of the network, such as conv9/BiasAdd:0" in capsys.readouterr().err


CPU_FLAGS = Path("/proc/cpuinfo")


@pytest.mark.skipif(
    not CPU_FLAGS.exists() or "avx2" not in CPU_FLAGS.read_text(), reason="an x86 CPU tells its flags"
)
def test_the_probe_agrees_with_the_flags_of_the_cpu() -> None:
    flags = CPU_FLAGS.read_text()
    assert wide_codes_are_exact() == any(flag in flags for flag in ("avx512_vnni", "avx_vnni"))
