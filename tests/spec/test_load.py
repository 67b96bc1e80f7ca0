from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from qatkit.errors import SpecError
from qatkit.spec import (
    DatasetExportConfig,
    Experiment,
    Inference,
    class_names,
    load_dataset_export,
    load_experiment,
    load_inference,
    review_dataset_export,
    review_experiment,
    review_inference,
    to_text,
)
from qatkit.spec.parse import parse
from tests.support.spec_strategies import any_message, any_text, changed
from tests.support.specs import COCO, EXPERIMENT, INFERENCE, KITTI, SPECS

Write = Callable[[str], Path]

# Specs as their authors published them.
SHARED = Path(os.environ.get("QATKIT_SHARED") or Path(__file__).parents[2].parent / "shared")
PUBLISHED = sorted((SHARED / "corpus" / "specs" / "dev").glob("*.txt"))
KINDS: dict[str, Callable[[Path], Message]] = {
    "cost_function_config": load_experiment,
    "inferencer_config": load_inference,
    "kitti_config": load_dataset_export,
    "coco_config": load_dataset_export,
}


def loader(path: Path) -> Callable[[Path], Message]:
    """The function that reads the kind of spec that `path` holds."""
    text = path.read_text("utf-8")
    return next(load for block, load in KINDS.items() if block in text)


def test_experiment(written: Write) -> None:
    spec = load_experiment(written(EXPERIMENT))
    assert (spec.random_seed, spec.training_config.num_epochs, spec.training_config.checkpoint_interval) == (
        42,
        4,
        10,
    )


def test_dataset_export(written: Write) -> None:
    assert load_dataset_export(written(KITTI)).kitti_config.image_extension == ".png"
    assert list(load_dataset_export(written(COCO)).coco_config.img_dir_names) == ["val", "train"]


def test_inference(written: Write) -> None:
    assert load_inference(str(written(INFERENCE))).inferencer_config.stride == 16


def test_byte_order_mark(written: Write) -> None:
    assert load_experiment(written("\ufeff" + EXPERIMENT)).random_seed == 42


def test_errors_name_the_file(written: Write) -> None:
    path = written(EXPERIMENT.replace("num_epochs: 4", "num_epochs: 0"))
    with pytest.raises(SpecError) as caught:
        load_experiment(path)
    assert str(caught.value) == f"{path}: training_config.num_epochs must be > 0, found 0"


def test_spec_of_another_kind(written: Write) -> None:
    with pytest.raises(SpecError, match="it belongs in an inference spec; this file is read as a training spec"):
        load_experiment(written(INFERENCE))


def test_warns_once(written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(EXPERIMENT.replace('arch: "resnet"', 'arch: "resnet" dropout_rate: 0.1'))
    for _ in range(2):
        load_experiment(path)
    assert capsys.readouterr().err == f"warning: {path}: read but not used: model_config.dropout_rate\n"


def test_a_bad_spec_does_not_warn(written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(EXPERIMENT.replace('arch: "resnet"', 'arch: "none" dropout_rate: 0.1'))
    with pytest.raises(SpecError):
        load_experiment(path)
    assert capsys.readouterr().err == ""


def test_contradictions_are_warnings(written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(EXPERIMENT.replace("output_image_height: 48", "output_image_height: 50"))
    assert load_experiment(path).augmentation_config.preprocessing.output_image_height == 50
    assert "output_image_height: 50 is no multiple of 16" in capsys.readouterr().err


def test_review_of_a_good_spec(written: Write) -> None:
    review = review_experiment(written(EXPERIMENT))
    assert (review.problems, review.contradictions, review.notices) == ((), (), ())
    assert review.message.training_config.checkpoint_interval == 10


def test_a_review_tells_everything(written: Write, capsys: pytest.CaptureFixture[str]) -> None:
    text = EXPERIMENT.replace("num_epochs: 4", "num_epochs: 0").replace("objective_set {", "dropout_rate: 0.1 sets {")
    text = text.replace("sets { bbox { scale: 35.0 offset: 0.5 } cov { } }", 'arch: "none"')
    text = text.replace("output_image_height: 48", "output_image_height: 50").replace("0.05", "7").replace("0.4", "9")
    review = review_experiment(written(text))
    rasterizer = 'bbox_rasterizer_config.target_class_config["car"]'
    assert review.problems == (
        "model_config.objective_set is missing",
        "cost_function_config.target_classes[0].coverage_foreground_weight must be > 0 and < 1, found 7",
        "training_config.num_epochs must be > 0, found 0",
        f"{rasterizer}.cov_radius_x must be > 0 and <= 1, found 9",
        f"{rasterizer}.cov_radius_y must be > 0 and <= 1, found 9",
        "model_config.arch must be one of resnet, vgg, darknet, mobilenet_v1, mobilenet_v2, squeezenet, googlenet, "
        'efficientnet_b0, found "none"',
    )
    assert [line.split(":")[0] for line in review.contradictions] == [
        "augmentation_config.preprocessing.output_image_height"
    ]
    assert review.notices == ("read but not used: model_config.dropout_rate",)
    assert capsys.readouterr().err == ""


def test_a_review_says_nothing_more_of_a_missing_block(written: Write) -> None:
    start = EXPERIMENT.index("bbox_rasterizer_config")
    assert review_experiment(written(EXPERIMENT[:start])).problems == ("bbox_rasterizer_config is missing",)


def test_other_reviews(written: Write) -> None:
    review = review_dataset_export(written(KITTI.replace("val_split: 20", "val_split: 200")))
    assert review.problems == ("kitti_config.val_split must be in 0..100 (percent), found 200",)
    assert (review.contradictions, review.message.kitti_config.num_partitions) == ((), 2)
    inference = review_inference(written(INFERENCE.replace("image_height: 48", "image_height: 50")))
    assert inference.problems == ()
    assert inference.notices == ("inferencer_config.image_height: 50 is no multiple of 16, the network's stride",)


def test_a_review_needs_a_file_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        review_experiment(tmp_path / "none")


@pytest.mark.parametrize(
    "name",
    [
        "detectnet_v2_tfrecords_kitti_trainval.txt",
        "detectnet_v2_train_resnet18_kitti.txt",
        "detectnet_v2_retrain_resnet18_kitti_qat.txt",
        "detectnet_v2_inference_kitti.txt",
    ],
)
def test_ready_specs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    loader(SPECS / name)(SPECS / name)
    assert capsys.readouterr().err == ""


def test_ready_specs_belong_together() -> None:
    train = load_experiment(SPECS / "detectnet_v2_train_resnet18_kitti.txt")
    retrain = load_experiment(SPECS / "detectnet_v2_retrain_resnet18_kitti_qat.txt")
    inference = load_inference(SPECS / "detectnet_v2_inference_kitti.txt")
    export = load_dataset_export(SPECS / "detectnet_v2_tfrecords_kitti_trainval.txt")
    assert class_names(train) == class_names(retrain) == list(inference.inferencer_config.target_classes)
    assert (train.training_config.enable_qat, retrain.training_config.enable_qat) == (False, True)
    assert (train.model_config.load_graph, retrain.model_config.load_graph) == (False, True)
    assert export.kitti_config.image_extension == f".{train.dataset_config.image_extension}"
    assert export.kitti_config.root_directory_path == train.dataset_config.data_sources[0].image_directory_path


@pytest.mark.skipif(not PUBLISHED, reason=f"no published specs in {SHARED}; QATKIT_SHARED names their folder")
def test_there_are_published_specs_of_each_kind() -> None:
    assert {loader(path) for path in PUBLISHED} == set(KINDS.values())


@pytest.mark.parametrize(
    "path",
    PUBLISHED or [pytest.param(None, marks=pytest.mark.skip(reason=f"no published specs in {SHARED}"))],
    ids=lambda path: path.stem if path else "none",
)
def test_published_specs_are_read_unchanged(path: Path, written: Write) -> None:
    load = loader(path)
    spec = load(path)
    assert load(written(to_text(spec))) == spec


SAMPLES = [
    parse(EXPERIMENT, Experiment, "spec"),
    parse(KITTI, DatasetExportConfig, "spec"),
    parse(COCO, DatasetExportConfig, "spec"),
    parse(INFERENCE, Inference, "spec"),
]


@given(st.sampled_from(SAMPLES).flatmap(changed).map(to_text) | any_message().map(to_text) | any_text)
@settings(max_examples=200, deadline=None)
def test_any_text_is_loaded_or_refused_in_one_line(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spec.txt")
        path.write_bytes(text.encode("utf-8", errors="replace"))
        for load in set(KINDS.values()):
            try:
                load(path)
            except SpecError as error:
                assert str(error).startswith(str(path)) and str(error).isprintable()


def test_needs_no_tensorflow() -> None:
    code = "import sys, qatkit.spec; print({'tensorflow', 'tf_keras', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
