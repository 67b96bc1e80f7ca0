from __future__ import annotations

import pytest

from qatkit.spec import Experiment
from qatkit.spec.parse import parse
from qatkit.spec.walk import walk


@pytest.mark.parametrize(
    "text, paths",
    [
        ("random_seed: 1", [""]),
        ("training_config { num_epochs: 1 }", ["", "training_config"]),
        (
            "dataset_config { data_sources { } data_sources { } validation_data_source { } }",
            [
                "",
                "dataset_config",
                "dataset_config.data_sources[0]",
                "dataset_config.data_sources[1]",
                "dataset_config.validation_data_source",
            ],
        ),
        (  # entries of a map in the order of their keys
            'bbox_rasterizer_config { target_class_config { key: "b" value { } } target_class_config { key: "a" } }',
            [
                "",
                "bbox_rasterizer_config",
                'bbox_rasterizer_config.target_class_config["a"]',
                'bbox_rasterizer_config.target_class_config["b"]',
            ],
        ),
        (  # a map of scalars holds no messages
            'dataset_config { target_class_mapping { key: "car" value: "car" } }',
            ["", "dataset_config"],
        ),
    ],
)
def test_paths(text: str, paths: list[str]) -> None:
    assert [path for path, _ in walk(parse(text, Experiment, "spec"))] == paths


def test_skipped_fields() -> None:
    spec = parse("training_config { } model_config { }", Experiment, "spec")
    assert [path for path, _ in walk(spec, skip=frozenset({"model_config"}))] == ["", "training_config"]
