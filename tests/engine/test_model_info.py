"""Which output is which, and where classes and units come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatkit.engine.model_info import find_heads, model_info
from qatkit.errors import ModelError, UsageError
from qatkit.export.metadata import Metadata
from qatkit.spec import Experiment

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


def test_metadata_come_before_nothing_at_all() -> None:
    info = model_info((16, 24, 3), Metadata(("car",), 35.0, 0.5, 16), None, FILE)
    assert (info.input_shape, info.classes, info.box_scale, info.box_offset) == ((16, 24, 3), ("car",), 35.0, 0.5)
    with pytest.raises(UsageError, match="does not say what its classes are"):
        model_info((16, 24, 3), None, None, FILE)


def test_a_spec_speaks_for_classes_without_names() -> None:
    spec = Experiment()
    spec.cost_function_config.target_classes.add(name="car")
    spec.model_config.objective_set.bbox.scale = 20.0
    unnamed, named = (Metadata((name,), 35.0, 0.5, 16) for name in ("class_0", "bus"))
    found = [model_info((16, 24, 3), metadata, spec, FILE) for metadata in (None, unnamed, named)]
    assert [info.classes for info in found] == [("car",), ("car",), ("bus",)]
    assert [info.box_scale for info in found] == [20.0, 20.0, 35.0]
    assert model_info((16, 24, 3), unnamed, None, FILE).classes == ("class_0",)
