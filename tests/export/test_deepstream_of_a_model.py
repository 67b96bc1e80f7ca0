"""DeepStream's configuration of a model, with the thresholds of its spec."""

from __future__ import annotations

import configparser
from dataclasses import replace
from pathlib import Path

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.errors import UsageError
from qatkit.export.deepstream import DeepStream, write_deepstream
from qatkit.export.deployment import ExportOptions
from qatkit.export.export import export
from qatkit.model.file import Model
from qatkit.spec import ClusteringConfig, Experiment
from tests.support.networks import residual

DBSCAN, NMS = ClusteringConfig.DBSCAN, ClusteringConfig.NMS


@pytest.fixture
def model() -> Model:
    return Model(residual(projection=True).graph(), Labels(("car", "person")))


def spec(**clustering: object) -> Experiment:
    """A spec in which class person clusters as `clustering` says."""
    found = Experiment()
    for name, settings in (("car", {"clustering_algorithm": DBSCAN}), ("person", clustering)):
        found.postprocessing_config.target_class_config[name].clustering_config.MergeFrom(
            ClusteringConfig(**settings)
        )
    return found


def written(model: Model, folder: Path, spec: Experiment | None) -> configparser.ConfigParser:
    report = export(model, folder / "model.onnx", ExportOptions())
    _, path = write_deepstream(DeepStream.of(report, spec), folder)
    parser = configparser.ConfigParser()
    parser.read_string(path.read_text())
    return parser


# A sum of coverages (DBSCAN) is no threshold for single cells, and a live picture must not show every cell.
@pytest.mark.parametrize(
    "clustering, pre_cluster, nms_iou",
    [
        ({"clustering_algorithm": DBSCAN, "coverage_threshold": 0.4, "dbscan_confidence_threshold": 0.9}, 0.4, 0.5),
        ({"clustering_algorithm": DBSCAN, "coverage_threshold": 0.005}, 0.2, 0.5),
        ({"clustering_algorithm": NMS, "nms_confidence_threshold": 0.6, "nms_iou_threshold": 0.3}, 0.6, 0.3),
        ({"clustering_algorithm": NMS, "nms_confidence_threshold": 0.1}, 0.2, 0.5),
    ],
)
def test_thresholds_of_the_spec(
    tmp_path: Path, model: Model, clustering: dict[str, object], pre_cluster: float, nms_iou: float
) -> None:
    section = written(model, tmp_path, spec(**clustering))["class-attrs-1"]
    assert section.getfloat("pre-cluster-threshold") == pytest.approx(pre_cluster)
    assert section.getfloat("nms-iou-threshold") == pytest.approx(nms_iou)


def test_without_a_spec_all_classes_have_the_same(tmp_path: Path, model: Model) -> None:
    assert written(model, tmp_path, None).sections() == ["property", "class-attrs-all"]


def test_a_class_without_clustering(tmp_path: Path, model: Model) -> None:
    cars = spec()
    del cars.postprocessing_config.target_class_config["person"]
    with pytest.raises(UsageError, match="has no class person"):
        written(model, tmp_path, cars)


@pytest.mark.parametrize(
    "changes, warning",
    [({}, ""), ({"box_scale": 30.0}, "not of 30"), ({"box_offset": 0.0}, "an offset of 0.5 pixels, not of 0")],
)
def test_boxes_that_nvinfer_would_decode_otherwise(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str], changes: dict[str, float], warning: str
) -> None:
    written(replace(model, labels=replace(model.labels, **changes)), tmp_path, None)
    found = capsys.readouterr().err
    assert warning in found if warning else not found
