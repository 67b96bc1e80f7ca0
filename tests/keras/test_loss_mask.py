"""Where boxes that a spec selects count less: numbers by hand on a grid of 6 by 4 cells of 4 pixels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from qatkit.detectnet.grid import Grid
from qatkit.keras.cost import component_costs
from qatkit.keras.loss_mask import LossMask
from qatkit.keras.rasterizer import Targets
from qatkit.spec import Experiment
from tests.support.detector import COST, PLAIN_DESCENT, batch, detector, stepper, training_config

GRID = Grid(24, 16, 6, 4)
PERSON, BAG, VAN = 0, 1, 2
BOX = [4.0, 4.0, 12.0, 8.0]  # cells 1 and 2 of row 1


def spec(filters: str, more: str = "") -> Experiment:
    """Classes person and bag; vans are bags, dontcare is not mapped."""
    mapping = {"person": "person", "bag": "bag", "van": "bag"}
    entries = "".join(f'target_class_mapping {{key: "{key}" value: "{value}"}} ' for key, value in mapping.items())
    classes = 'target_classes {name: "person"} target_classes {name: "bag"}'
    text = f"dataset_config {{{entries}}} cost_function_config {{{classes}}} "
    return text_format.Parse(f"{text} loss_mask_label_filter {{{filters} {more}}}", Experiment())


def one(label_filter: str, more: str = "") -> str:
    return f"objective_label_filter_configs {{label_filter {{{label_filter}}} {more}}}"


def mask(experiment: Experiment, objects: list[tuple[int, list[float]]], cov: object = None) -> NDArray[np.float32]:
    """[h, w, C, 2] of one frame."""
    found = LossMask.from_spec(experiment, GRID)
    assert found is not None
    boxes = tf.constant([[box for _, box in objects]], tf.float32)
    maps = tf.zeros((1, 4, 6, 2)) if cov is None else tf.constant(cov, tf.float32)
    values = found(boxes, tf.constant([[label for label, _ in objects]], tf.int32), maps).numpy()[0]
    return np.asarray(values)


def cells(values: NDArray[np.float32], multiplier: float = 0.0) -> list[tuple[int, int]]:
    """(row, column) of what is masked; everything else counts in full."""
    assert set(values.ravel().tolist()) <= {multiplier, 1.0}
    return [(int(row), int(column)) for row, column in np.argwhere(values == multiplier)]


ALL_SIZES = "bbox_dimensions_label_filter {min_width: 1}"
IN_BOX = [(1, 1), (1, 2)]


def test_without_filters_there_is_no_mask() -> None:
    assert LossMask.from_spec(Experiment(), GRID) is None
    assert LossMask.from_spec(spec("mask_multiplier: 0.5"), GRID) is None


def test_the_box_is_masked_for_its_own_class_and_both_objectives() -> None:
    found = mask(spec(one(ALL_SIZES)), [(BAG, BOX)])
    assert [cells(found[..., BAG, objective]) for objective in range(2)] == [IN_BOX, IN_BOX]
    assert (found[..., PERSON, :] == 1).all()


def test_no_object_no_mask() -> None:
    assert (mask(spec(one(ALL_SIZES)), [(-1, BOX)]) == 1).all()


@pytest.mark.parametrize(
    "box, expected",
    [
        ([4.0, 4.0, 12.0, 8.0], IN_BOX),
        ([4.0, 4.0, 12.4, 8.0], IN_BOX),  # the first sample of a cell lies at a tenth of it
        ([4.0, 4.0, 12.5, 8.0], [(1, 1), (1, 2), (1, 3)]),
        ([3.5, 3.5, 8.0, 8.0], [(0, 0), (0, 1), (1, 0), (1, 1)]),
        ([9.0, 9.0, 9.1, 12.0], []),  # between two samples
        ([0.0, 0.0, 24.0, 4.0], [(0, column) for column in range(6)]),
    ],
)
def test_a_cell_belongs_to_a_box_if_one_of_its_samples_does(
    box: list[float], expected: list[tuple[int, int]]
) -> None:
    assert cells(mask(spec(one(ALL_SIZES)), [(BAG, box)])[..., BAG, 0]) == expected


@pytest.mark.parametrize(
    "limits, selected",
    [
        ("min_width: 8", True),  # the box is 8 by 4; limits are inclusive
        ("min_width: 8.5", False),
        ("max_width: 8", True),
        ("max_width: 7", False),
        ("min_height: 4 max_height: 4.5", True),
        ("min_height: 5", False),
        ("max_height: 3", False),
        ("", True),
    ],
)
def test_dimensions(limits: str, selected: bool) -> None:
    found = mask(spec(one(f"bbox_dimensions_label_filter {{{limits}}}")), [(PERSON, BOX)])
    assert cells(found[..., PERSON, 0]) == (IN_BOX if selected else [])


@pytest.mark.parametrize(
    "window, selected",
    [
        ((11, 20, 7, 20), True),
        ((12, 20, 7, 20), False),  # beside it
        ((11, 20, 8, 20), False),  # below it
        ((1, 4, 1, 20), False),
        ((1, 5, 1, 5), True),
        ((0, 3, 1, 20), True),  # a side that is not set: all boxes
    ],
)
def test_crop(window: tuple[int, ...], selected: bool) -> None:
    sides = zip(("crop_left", "crop_right", "crop_top", "crop_bottom"), window)
    text = " ".join(f"{name}: {value}" for name, value in sides)
    found = mask(spec(one(f"bbox_crop_label_filter {{{text}}}")), [(PERSON, BOX)])
    assert cells(found[..., PERSON, 0]) == (IN_BOX if selected else [])


@pytest.mark.parametrize(
    "names, label, selected",
    [
        (["dontcare"], 2, True),
        (["dontcare"], BAG, False),
        (["van"], 2, True),
        (["van"], BAG, False),  # a bag that is no van
        (["bag"], BAG, True),
        (["bag", "van"], 2, True),
        (["van", "dontcare"], 3, True),
        (["person"], -1, False),
    ],
)
def test_source_classes(names: list[str], label: int, selected: bool) -> None:
    """A label from 2 on is the first, second ... of the names that is no class as it is; masked for every class."""
    listed = " ".join(f'source_class_names: "{name}"' for name in names)
    found = mask(spec(one(f"source_class_label_filter {{{listed}}}")), [(label, BOX)])
    for values in (found[..., PERSON, 0], found[..., BAG, 1]):
        assert cells(values) == (IN_BOX if selected else [])


def test_a_class_selects_what_is_mapped_to_it_too() -> None:
    """As in TAO, which compares the names after the mapping."""
    names = 'source_class_names: "van" source_class_names: "bag"'
    found = mask(spec(one(f"source_class_label_filter {{{names}}}")), [(VAN, BOX)])
    assert cells(found[..., PERSON, 0]) == IN_BOX


def test_classes_and_objectives_that_a_filter_names() -> None:
    text = one('source_class_label_filter {source_class_names: "dontcare"}', 'target_class_names: "bag"')
    found = mask(spec(text), [(2, BOX)])
    assert cells(found[..., BAG, 0]) == cells(found[..., BAG, 1]) == IN_BOX
    assert (found[..., PERSON, :] == 1).all()
    found = mask(spec(one(ALL_SIZES, 'objective_names: "bbox"')), [(BAG, BOX)])
    assert (found[..., 0] == 1).all() and cells(found[..., BAG, 1]) == IN_BOX


def test_filters_add_up() -> None:
    wide = one("bbox_dimensions_label_filter {min_width: 8}")
    left = one("bbox_crop_label_filter {crop_left: 1 crop_right: 4 crop_top: 1 crop_bottom: 16}")
    objects = [(BAG, BOX), (BAG, [0.0, 12.0, 4.0, 16.0]), (BAG, [16.0, 12.0, 20.0, 16.0])]
    assert cells(mask(spec(wide + left), objects)[..., BAG, 0]) == [*IN_BOX, (3, 0)]


def test_the_multiplier_and_the_objects_that_are_kept() -> None:
    text = one('source_class_label_filter {source_class_names: "dontcare"}')
    cov = np.zeros((1, 4, 6, 2))
    cov[0, 1, 2, BAG] = 0.25
    found = mask(spec(text, "mask_multiplier: 0.25 preserve_ground_truth: true"), [(2, BOX)], cov)
    assert cells(found[..., BAG, 0], 0.25) == [(1, 1)]
    assert cells(found[..., PERSON, 0], 0.25) == IN_BOX
    found = mask(spec(text, "mask_multiplier: 0.25"), [(2, BOX)], cov)
    assert cells(found[..., BAG, 0], 0.25) == IN_BOX


def test_the_cost_of_masked_cells_is_multiplied() -> None:
    random = np.random.default_rng(0)
    maps = [tf.constant(random.uniform(0.1, 0.9, (2, 4, 6, 2)), tf.float32) for _ in range(3)]
    bbox = [tf.constant(random.uniform(0, 1, (2, 4, 6, 8)), tf.float32) for _ in range(2)]
    weights = random.choice([0.0, 0.5, 1.0], (2, 4, 6, 2, 2)).astype(np.float32)

    def costs(values: NDArray[np.float32] | None) -> NDArray[np.float32]:
        targets = Targets(maps[1], bbox[1], maps[2])
        frame = tf.constant([1.0, 2.0])
        found = component_costs(
            COST, maps[0], bbox[0], targets, frame, None if values is None else tf.constant(values)
        )
        return np.asarray(found.numpy())

    assert_allclose(costs(np.ones_like(weights)), costs(None), rtol=1e-6)
    each = np.zeros((2, 2))
    for place in np.ndindex(2, 4, 6):  # cell by cell
        only = np.zeros_like(weights)
        only[place] = weights[place]
        each += costs(only)
    assert_allclose(costs(weights), each, rtol=1e-5)
    assert (costs(weights) < costs(None)).all()


def test_what_is_masked_completely_teaches_nothing() -> None:
    """A step with everything masked changes no weight, and the validation's cost is 0; labels beyond the classes."""
    everything = one('source_class_label_filter {source_class_names: "dontcare"}')
    found = LossMask.from_spec(spec(everything), GRID)
    step = stepper(detector(norms=False), training_config(PLAIN_DESCENT), mask=found)
    before = step.network.read().weights
    data = batch()
    whole = tf.constant([[[0.0, 0.0, 24.0, 16.0]]] * 4)
    labelled = {
        **data,
        "boxes": tf.concat([data["boxes"], whole], axis=1),
        "class_ids": tf.concat([data["class_ids"], tf.fill([4, 1], 2)], axis=1),
    }
    assert step(labelled, 1e6).loss == 0
    after = step.network.read().weights
    assert all((after[name] == before[name]).all() for name in before)
    bbox, cov = step.network.model(data["image"])
    assert step.cost(labelled, cov, bbox) == 0 < step.cost(data, cov, bbox)
