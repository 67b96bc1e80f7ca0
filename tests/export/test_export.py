"""All deployed files of one model, and that they agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from onnx import numpy_helper

from qatkit.detectnet.labels import Labels
from qatkit.engine.int8.graph import parse
from qatkit.engine.int8.scheme import from_cache, from_qdq, with_movers
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.errors import ModelError, UsageError
from qatkit.export.cache import read_cache
from qatkit.export.deployment import Deployment, ExportOptions
from qatkit.export.export import export
from qatkit.export.metadata import Metadata
from qatkit.graph import nodes as n
from qatkit.model.file import Model
from qatkit.quantization.folding import fold, snap_to_grid, weight_codes
from tests.support.models import QAT_TENSORS, TENSORS, float_model, images_of, model_of, options, qat_model
from tests.support.networks import Net, residual
from tests.support.reference import evaluate


@pytest.mark.parametrize("data_type", ["fp32", "fp16"])
@pytest.mark.parametrize("model", [float_model(), qat_model()], ids=["float", "qat"])
def test_float_types_give_the_clean_onnx_alone(tmp_path: Path, data_type: Any, model: Model) -> None:
    report = export(model, tmp_path / "deep" / "model.onnx", ExportOptions(data_type=data_type))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model.onnx"]
    assert (report.qdq, report.cache, report.source) == (None, None, None)
    metadata = Metadata.read(onnx.load(report.onnx))
    assert metadata is not None
    assert (metadata.labels, metadata.stride) == (Labels(("car", "person"), 30.0, 0.25), 2)


def test_ptq_covers_every_tensor_of_the_network(tmp_path: Path) -> None:
    model = float_model()
    report = export(model, tmp_path / "model.onnx", options(tmp_path), [images_of(model)])
    assert report.source == "ptq"
    assert list(read_cache(tmp_path / "cal.bin").scales) == TENSORS == list(report.ranges)
    assert (report.uncovered, report.calibrator) == ((), "minmax")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cal.bin", "model.onnx", "model.qdq.onnx"]


def test_ptq_needs_images_and_writes_nothing_without(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs images"):
        export(float_model(), tmp_path / "model.onnx", options(tmp_path))
    with pytest.raises(UsageError, match="needs images"):
        export(qat_model(), tmp_path / "model.onnx", options(tmp_path, force_ptq=True))
    assert list(tmp_path.iterdir()) == []


def test_a_qat_model_needs_no_images(tmp_path: Path) -> None:
    model = qat_model()
    report = export(model, tmp_path / "model.onnx", options(tmp_path))
    assert report.source == "qat"
    assert list(read_cache(tmp_path / "cal.bin").scales) == QAT_TENSORS
    assert set(report.uncovered) == set(TENSORS) - set(QAT_TENSORS)
    assert report.calibrator is None
    assert report.ranges["a_relu/Relu:0"] == pytest.approx(model.ranges["a_relu"], rel=1e-6)
    assert open_onnx(tmp_path / "model.qdq.onnx").precision == "int8-qat"


def test_a_qat_model_with_images_has_a_complete_cache_with_its_own_ranges_where_it_has_them(tmp_path: Path) -> None:
    model = qat_model()
    widened = replace(model, ranges={name: 2 * amax for name, amax in model.ranges.items()})
    report = export(widened, tmp_path / "model.onnx", options(tmp_path), [images_of(model)])
    assert list(report.ranges) == TENSORS
    assert report.ranges["a_relu/Relu:0"] == pytest.approx(2 * model.ranges["a_relu"], rel=1e-6)
    values = evaluate(snap_to_grid(model.graph, report.deployment.int8_plan.weights), images_of(model))
    assert report.ranges["sum/add:0"] == pytest.approx(np.abs(values["sum"]).max(), rel=1e-4)


def test_the_scope_qat_leaves_measured_tensors_out(tmp_path: Path) -> None:
    def never() -> Iterator[np.ndarray]:
        raise AssertionError("no image is read")
        yield

    report = export(qat_model(), tmp_path / "model.onnx", options(tmp_path, cal_scope="qat"), never())
    assert list(report.ranges) == QAT_TENSORS
    assert report.calibrator is None


def test_force_ptq_forgets_the_ranges_and_the_weights_of_qat(tmp_path: Path) -> None:
    model = qat_model()
    widened = replace(model, ranges={name: 9 * amax for name, amax in model.ranges.items()})
    report = export(widened, tmp_path / "model.onnx", options(tmp_path, force_ptq=True), [images_of(model)])
    assert report.source == "ptq"
    assert report.ranges["a_relu/Relu:0"] == pytest.approx(model.ranges["a_relu"], rel=1e-4)
    assert list(report.ranges) == TENSORS
    assert open_onnx(tmp_path / "model.qdq.onnx").precision == "int8-ptq"
    weights = {item.name: numpy_helper.to_array(item) for item in onnx.load(report.onnx).graph.initializer}
    folded = fold(model.graph).weight("a", "kernel")
    assert_array_equal(weights["a/kernel:0"], folded.transpose(3, 2, 0, 1))


def awkward() -> Net:
    """With tensors that are no node's output: inside a swish, a sum of three, and around a padded max-pool."""
    net = Net()
    stem = net.max_pool("pool", net.conv_bn("stem", net.input, 4), 3, 1, padding=1)
    gated = net.add(n.Swish("swish", (net.conv_bn("a", stem, 4),)))
    net.heads(net.add_relu("sum", net.conv_bn("b", gated, 4), gated, stem))
    return net


@pytest.mark.parametrize("net", [residual(projection=True), awkward()], ids=["residual", "awkward"])
def test_force_ptq_gives_every_float_tensor_a_scale_as_a_dla_needs_it(tmp_path: Path, net: Net) -> None:
    model = model_of(net, qat=True)
    report = export(model, tmp_path / "model.onnx", options(tmp_path, force_ptq=True), [images_of(model)])
    inferred = onnx.shape_inference.infer_shapes(onnx.load(report.onnx)).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    floats = {item.name for item in values if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    assert floats >= {name for node in inferred.node for name in node.output}
    assert read_cache(tmp_path / "cal.bin").scales.keys() == floats


@pytest.mark.parametrize("images", [False, True], ids=["qat scope", "complete"])
def test_the_cache_and_the_qdq_file_make_the_same_integer_network(tmp_path: Path, images: bool) -> None:
    model = qat_model()
    batches = [images_of(model)] if images else None
    report = export(model, tmp_path / "model.onnx", options(tmp_path), batches)
    assert report.qdq is not None
    explicit, implicit = open_onnx(report.qdq), open_onnx(report.onnx, cal_cache=report.cache)
    pairs = zip(explicit.predict(images_of(model)), implicit.predict(images_of(model)))
    for one, two in pairs:
        if images:  # TensorRT may round the kernels of the heads where their output has a scale
            assert np.abs(one - two).max() < 0.05 * np.abs(one).max()
        else:
            assert_array_equal(one, two)


def test_training_the_float_file_the_qdq_file_and_the_cache_hold_the_same_codes(tmp_path: Path) -> None:
    model = qat_model()
    report = export(model, tmp_path / "model.onnx", options(tmp_path))
    assert report.qdq is not None
    clean, explicit = (
        {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
        for path in (report.onnx, report.qdq)
    )
    for name, norm in (("stem", "stem_bn"), ("a", "a_bn"), ("b", "b_bn"), ("shortcut", "shortcut_bn")):
        trained, _ = weight_codes(model.graph.weight(name, "kernel"))
        signed = (trained * np.sign(model.graph.weight(norm, "gamma"))).transpose(3, 2, 0, 1)
        assert_array_equal(explicit[f"{name}/kernel:0_quantized"], signed)
        assert_array_equal(weight_codes(clean[f"{name}/kernel:0"], 0)[0], signed)


@pytest.mark.parametrize("qat", [True, False], ids=["qat", "ptq"])
@pytest.mark.parametrize("net", [residual(projection=True), awkward()], ids=["residual", "awkward"])
def test_cache_json_qdq_file_and_engine_have_one_set_of_ranges(tmp_path: Path, net: Net, qat: bool) -> None:
    """Each is read back from its file; all scales are float32(amax / 127)."""
    model = model_of(net, qat=qat)
    wanted = options(tmp_path, cal_json_file=tmp_path / "cal.json")
    report = export(model, tmp_path / "model.onnx", wanted, [images_of(model)])
    assert report.qdq is not None and report.cache is not None
    cache = read_cache(report.cache).scales
    table = json.loads((tmp_path / "cal.json").read_text())["tensor_scales"]
    assert {name: np.float32(amax / 127) for name, amax in table.items()} == cache
    explicit = onnx.load(report.qdq)
    constants = {item.name: numpy_helper.to_array(item) for item in explicit.graph.initializer}
    quantizers = [node for node in explicit.graph.node if node.op_type == "QuantizeLinear"]
    spelled_out = {node.input[0]: float(constants[node.input[1]]) for node in quantizers}
    assert len(spelled_out) == len(Deployment.of(model, wanted).int8_plan.activations)
    assert spelled_out == {name: cache[name] for name in spelled_out}
    for scheme in (from_qdq(parse(explicit)), from_cache(parse(onnx.load(report.onnx)), cache)):
        assert spelled_out.keys() <= scheme.scales.keys()
        # What pooling and padding make has the scale of what they read, also where the cache does not name it.
        assert scheme.scales.items() <= with_movers(scheme.graph, cache).items()


def test_ranges_as_json(tmp_path: Path) -> None:
    report = export(
        qat_model(), tmp_path / "model.onnx", options(tmp_path, cal_json_file=tmp_path / "ranges" / "cal.json")
    )
    table = json.loads((tmp_path / "ranges" / "cal.json").read_text())["tensor_scales"]
    assert table == dict(report.ranges)


def test_files_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    for name in ("model.onnx", "cal.bin"):
        (tmp_path / name).write_text("stale")
    export(qat_model(), tmp_path / "model.onnx", options(tmp_path, trt_version="8.6.1"))
    assert (tmp_path / "cal.bin").read_text().startswith("TRT-8601-EntropyCalibration2\ninput_1:0: ")
    assert open_onnx(tmp_path / "model.onnx").precision == "fp32"


def test_max_pool_and_concat_branches_share_ranges_in_the_cache(tmp_path: Path) -> None:
    net = Net()
    stem = net.max_pool("pool", net.conv_bn_relu("stem", net.input, 4))
    joined = net.concat("join", net.conv_bn_relu("a", stem, 4, 1), net.conv_bn_relu("b", stem, 4))
    net.heads(net.conv_bn_relu("c", joined, 4))
    model = model_of(net, qat=False)
    ranges = export(model, tmp_path / "model.onnx", options(tmp_path), [images_of(model)]).ranges
    assert ranges["pool/MaxPool:0"] == ranges["stem_relu/Relu:0"]
    assert ranges["a_relu/Relu:0"] == ranges["b_relu/Relu:0"] == ranges["join/concat:0"]


def test_skipped_layers_that_nothing_quantized_reads_have_no_scale(tmp_path: Path) -> None:
    model = float_model()
    chosen = options(tmp_path, skip_layers=("b", "sum", "output_*"))
    report = export(model, tmp_path / "model.onnx", chosen, [images_of(model)])
    assert "b_bn/batchnorm/add_1:0" in report.uncovered
    assert report.qdq is not None
    for engine in (open_onnx(report.qdq), open_onnx(report.onnx, cal_cache=report.cache)):
        assert engine.report is not None
        assert "b_bn/batchnorm/add_1:0" in engine.report.floating


def test_taos_placement_can_be_exported(tmp_path: Path) -> None:
    model = model_of(residual(projection=True), qat=True, placement="tao")
    report = export(model, tmp_path / "model.onnx", options(tmp_path))
    assert {"b_bn/batchnorm/add_1:0", "sum/add:0"} <= report.ranges.keys()
    metadata = Metadata.read(onnx.load(report.onnx))
    assert metadata is not None
    assert metadata.qat == "tao"


def test_a_model_without_one_of_its_ranges_is_refused(tmp_path: Path) -> None:
    model = qat_model()
    broken = replace(model, ranges={name: amax for name, amax in model.ranges.items() if name != "a_relu"})
    with pytest.raises(ModelError, match="layer a_relu: the model has no range"):
        export(broken, tmp_path / "model.onnx", options(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_another_network_is_refused() -> None:
    model = qat_model()
    assert model.plan is not None
    with pytest.raises(ModelError, match="no layer conv9"):
        replace(model, plan=replace(model.plan, weights=("conv9",)))


@pytest.mark.parametrize("change", [{"skip_layers": ("a",)}, {"placement": "tao"}])
def test_another_placement_than_that_of_training_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="keeps the placement it was trained with"):
        export(qat_model(), tmp_path / "model.onnx", options(tmp_path, **change))


@pytest.mark.parametrize("change", [{"calibrator": "kl"}, {"trt_version": "ten"}])
def test_options_that_make_no_sense_are_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ExportOptions(**change)
