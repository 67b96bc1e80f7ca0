"""Which output is which, where classes and units come from, and networks that take a fixed number of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import Array, ModelInfo, chunks, find_heads, in_batches
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


@pytest.mark.parametrize(
    "count, largest, parts",
    [(0, 4, []), (1, 4, [(0, 1)]), (4, 4, [(0, 4)]), (9, 4, [(0, 4), (4, 8), (8, 9)])],
)
def test_images_in_parts_of_the_largest_batch(count: int, largest: int, parts: list[tuple[int, int]]) -> None:
    assert [(part.start, part.stop) for part in chunks(count, largest)] == parts


@pytest.mark.parametrize(
    "count, size, runs",
    [
        (5, 0, [5]),
        (0, 0, [0]),
        (5, 4, [4, 4]),
        (4, 4, [4]),
        (1, 4, [4]),
        (8, 4, [4, 4]),
        (3, 1, [1, 1, 1]),
        (0, 2, [2]),
    ],
)
def test_a_fixed_batch_is_filled_up_and_the_surplus_dropped(count: int, size: int, runs: list[int]) -> None:
    images = np.arange(1, count + 1, dtype=np.float32).reshape(-1, 1, 1, 1)
    seen: list[Array] = []

    def run(batch: Array) -> tuple[Array, Array]:
        seen.append(batch)
        return batch * 2, batch * 3

    cov, bbox = in_batches(run, images, size)
    assert [len(batch) for batch in seen] == runs
    assert_array_equal(np.concatenate(seen)[count:], 0)
    assert_array_equal(cov, images * 2)
    assert_array_equal(bbox, images * 3)
