from __future__ import annotations

import pytest
from google.protobuf import text_format

from qatkit.detectnet.told_apart import ToldApart
from qatkit.spec import Experiment


def told_apart(*names: str, mapping: dict[str, str] | None = None) -> ToldApart:
    """Of a spec with the classes car and person."""
    spec = text_format.Parse(
        'cost_function_config {target_classes {name: "car"} target_classes {name: "person"}}', Experiment()
    )
    spec.dataset_config.target_class_mapping.update(mapping or {"car": "car", "van": "car", "person": "person"})
    for name in names:
        item = spec.loss_mask_label_filter.objective_label_filter_configs.add()
        item.label_filter.source_class_label_filter.source_class_names.append(name)
    return ToldApart.from_spec(spec)


def test_nothing_is_told_apart_without_filters() -> None:
    found = told_apart()
    assert found.sources == ()
    assert found.table.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    "names, sources, table",
    [
        (("dontcare",), ("dontcare",), [0, 1, -1, -1]),
        (("van", "dontcare", "van"), ("van", "dontcare"), [0, 1, 0, -1, -1]),
        (("car", "person"), (), [0, 1, -1]),  # as they are a class of the network
    ],
)
def test_source_classes_have_ids_of_their_own(
    names: tuple[str, ...], sources: tuple[str, ...], table: list[int]
) -> None:
    found = told_apart(*names)
    assert found.sources == sources
    assert found.table.tolist() == table
    assert found.table[-1] == -1  # what no object is


def test_a_class_under_another_name_is_told_apart() -> None:
    """Records call persons cars here."""
    found = told_apart("car", mapping={"car": "person", "auto": "car"})
    assert found.sources == ("car",)
    assert found.table.tolist() == [0, 1, 1, -1]
    assert found.ids_named(["car"]).tolist() == [True, False, True]


def test_names_are_those_of_records_and_of_classes() -> None:
    found = told_apart("van", "dontcare")
    assert found.ids_named(["van"]).tolist() == [False, False, True, False]
    assert found.ids_named(["car"]).tolist() == [True, False, True, False]
    assert found.ids_named(["dontcare", "person"]).tolist() == [False, True, False, True]
