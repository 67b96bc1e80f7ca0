from collections.abc import Callable

import pytest

from qatkit.dataset.sample_modifier import SampleModifier
from qatkit.errors import SpecError
from qatkit.spec import DatasetExportConfig

MAPPING = {"automobile": "car", "van": "car", "dog": "canine", "wolf": "canine"}


def _modifier(validation_fold: int | None = 0, folds: int = 2, **config: object) -> SampleModifier:
    spec = DatasetExportConfig.SampleModifierConfig(source_to_target_class_mapping=MAPPING, **config)
    return SampleModifier(spec, validation_fold, folds)


@pytest.mark.parametrize(
    "names, copies",
    [
        ([], 1),
        (["automobile"], 0),
        (["automobile", "van"], 0),  # two names, one class
        (["automobile", "tree"], 0),  # what is not mapped does not count
        (["automobile", "dog"], 1),
        (["dog"], 1),
        (["tree"], 1),
    ],
)
def test_frames_with_only_a_listed_class_are_left_out(names: list[str], copies: int) -> None:
    assert _modifier(filter_samples_containing_only=["car"]).copies(names, fold=1) == copies


@pytest.mark.parametrize(
    "names, ratio, copies",
    [
        ([], None, 1),
        (["automobile", "dog"], None, 1),  # not more than 1 : 1
        (["automobile", "dog", "wolf"], None, 3),
        (["dog"], None, 3),
        (["automobile", "dog"], 0.5, 3),
        (["automobile", "van", "van", "dog"], 0.5, 1),
    ],
)
def test_frames_with_rare_classes_are_repeated(names: list[str], ratio: float | None, copies: int) -> None:
    ratios = {"canine": ratio} if ratio else {}
    modifier = _modifier(dominant_target_classes=["car"], minimum_target_class_imbalance=ratios, num_duplicates=2)
    assert modifier.copies(names, fold=1) == copies


def test_the_validation_fold_is_left_alone() -> None:
    modifier = _modifier(filter_samples_containing_only=["car"], max_training_samples=1)
    assert [modifier.copies(["automobile"], fold=0) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    "validation_fold, folds, allowed",
    [(0, 2, 5), (None, 2, 2), (0, 3, 2), (None, 1, 5), (None, 0, 5), (0, 1, 5), (None, 9, 1)],
)
def test_the_limit_is_shared_by_the_training_folds(validation_fold: int | None, folds: int, allowed: int) -> None:
    modifier = _modifier(validation_fold, folds, max_training_samples=5)
    assert sum(modifier.copies(["dog"], fold=1) for _ in range(20)) == allowed


def test_copies_end_at_the_limit() -> None:
    modifier = _modifier(dominant_target_classes=["car"], num_duplicates=2, max_training_samples=4)
    assert [modifier.copies(["dog"], fold=1) for _ in range(3)] == [3, 1, 0]


def test_classes_must_be_targets_of_the_mapping() -> None:
    with pytest.raises(SpecError, match="automobile, dog is no target of source_to_target_class_mapping"):
        _modifier(dominant_target_classes=["automobile", "car"], filter_samples_containing_only=["dog"])


@pytest.mark.parametrize("case", [str, str.upper, str.title])
def test_names_are_those_of_the_records_in_any_case(case: Callable[[str], str]) -> None:
    config = DatasetExportConfig.SampleModifierConfig(
        source_to_target_class_mapping={case("automobile"): case("car"), case("traffic light"): "Lights"},
        filter_samples_containing_only=["CAR"],
        dominant_target_classes=["car"],
        minimum_target_class_imbalance={case("lights"): 0.5},
        num_duplicates=1,
    )
    modifier = SampleModifier(config, None, 1)
    assert modifier.copies(["automobile"], fold=0) == 0
    assert modifier.copies(["trafficlight"], fold=0) == 2
    assert modifier.copies(["automobile", "trafficlight"], fold=0) == 2  # 1 > 1 * 0.5
    assert modifier.copies(["automobile", "automobile", "trafficlight"], fold=0) == 1
