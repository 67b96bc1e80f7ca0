"""Which output is which, and where classes and units come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import ModelInfo, find_heads
from qatkit.errors import ModelError, UsageError
from qatkit.export.metadata import Metadata

FILE = Path("model.engine")


@pytest.mark.parametrize(
    "channels, heads",
    [
        ({"output_bbox/BiasAdd:0": 8, "output_cov/Sigmoid:0": 2}, ("output_cov/Sigmoid:0", "output_bbox/BiasAdd:0")),
        ({"output_cov": 0, "output_bbox": 0}, ("output_cov", "output_bbox")),  # by name alone
        ({"a": 3, "b": 12}, ("a", "b")),
        ({"a": 12, "b": 3}, ("b", "a")),
        ({"cov_bbox": 4, "other": 1}, ("other", "cov_bbox")),  # one name with both words tells nothing
    ],
)
def test_heads_are_told_apart_by_name_and_then_by_channels(channels: dict[str, int], heads: tuple[str, str]) -> None:
    assert find_heads(channels, FILE) == heads


@pytest.mark.parametrize("channels", [{}, {"output_cov": 1}, {"a": 0, "b": 0}, {"a": 2, "b": 3}])
def test_outputs_of_another_network_are_refused(channels: dict[str, int]) -> None:
    with pytest.raises(ModelError, match=r"model\.engine: "):
        find_heads(channels, FILE)


def metadata(name: str) -> Metadata:
    return Metadata(Labels((name,)), 16)


def test_metadata_come_before_nothing_at_all() -> None:
    assert ModelInfo.of((16, 24, 3), metadata("car"), None, FILE) == ModelInfo(
        (16, 24, 3), Labels(("car",), 35.0, 0.5)
    )
    with pytest.raises(UsageError, match="does not say what its classes are"):
        ModelInfo.of((16, 24, 3), None, None, FILE)


def test_a_spec_speaks_for_classes_without_names() -> None:
    given = Labels(("car",), box_scale=20.0)
    found = [
        ModelInfo.of((16, 24, 3), own, given, FILE).labels for own in (None, metadata("class_0"), metadata("bus"))
    ]
    assert found == [given, given, Labels(("bus",), 35.0)]
    assert ModelInfo.of((16, 24, 3), metadata("class_0"), None, FILE).labels.classes == ("class_0",)
