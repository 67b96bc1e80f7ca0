"""`sample_modifier_config`: leave out, repeat and limit training frames while they are converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qatkit.errors import SpecError
from qatkit.spec.names import stored_name

if TYPE_CHECKING:
    from qatkit.spec import DatasetExportConfig


class SampleModifier:
    """How often each frame is written. Keeps count of what it has allowed per fold.

    Names count as they are stored in the records, whatever their case in the spec.
    `validation_fold` is left as it is; without one, every fold is a training fold.
    """

    def __init__(
        self, config: DatasetExportConfig.SampleModifierConfig, validation_fold: int | None, folds: int
    ) -> None:
        self._mapping = {
            stored_name(name): stored_name(target) for name, target in config.source_to_target_class_mapping.items()
        }
        self._ratios = {stored_name(name): ratio for name, ratio in config.minimum_target_class_imbalance.items()}
        self._duplicates = config.num_duplicates
        self._validation_fold = validation_fold
        training_folds = folds if validation_fold is None else folds - 1
        share = config.max_training_samples // max(training_folds, 1)
        self._limit = max(share, 1) if config.max_training_samples else None
        self._written: Counter[int] = Counter()
        self._dominant = set(map(stored_name, config.dominant_target_classes))
        self._filtered = set(map(stored_name, config.filter_samples_containing_only))
        unknown = (self._dominant | self._filtered) - set(self._mapping.values())
        if unknown:
            raise SpecError(
                f"sample_modifier_config: {', '.join(sorted(unknown))} is no target of source_to_target_class_mapping"
            )

    def copies(self, class_names: Iterable[str], fold: int) -> int:
        """How often to write a frame of `fold` with objects of these (source) classes: 0 leaves it out."""
        if fold == self._validation_fold:
            return 1
        stored = map(stored_name, class_names)
        counts = Counter(self._mapping[name] for name in stored if name in self._mapping)
        filtered = len(counts) == 1 and next(iter(counts)) in self._filtered
        wanted = 0 if filtered else 1 + self._duplicates * self._is_rare(counts)
        if self._limit is not None:
            wanted = min(wanted, self._limit - self._written[fold])
        self._written[fold] += wanted
        return wanted

    def _is_rare(self, counts: Counter[str]) -> bool:
        """Whether a rare class outweighs a dominant one by more than its ratio."""
        return any(
            counts[rare] > counts[dominant] * self._ratios.get(rare, 1.0)
            for rare in set(self._mapping.values()) - self._dominant
            for dominant in self._dominant
        )
