"""`sample_modifier_config`: leave out, repeat and limit training frames while they are converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qatkit.errors import SpecError

if TYPE_CHECKING:
    from qatkit.spec import DatasetExportConfig


class SampleModifier:
    """How often each frame is written. Keeps count of what it has allowed per fold.

    `validation_fold` is left as it is; without one, every fold is a training fold.
    """

    def __init__(
        self, config: DatasetExportConfig.SampleModifierConfig, validation_fold: int | None, folds: int
    ) -> None:
        self._config = config
        self._mapping = dict(config.source_to_target_class_mapping)
        self._validation_fold = validation_fold
        training_folds = folds if validation_fold is None else folds - 1
        self._limit = config.max_training_samples // max(training_folds, 1) or None
        self._written: Counter[int] = Counter()
        self._dominant = set(config.dominant_target_classes)
        unknown = {*self._dominant, *config.filter_samples_containing_only} - set(self._mapping.values())
        if unknown:
            raise SpecError(
                f"sample_modifier_config: {', '.join(sorted(unknown))} is no target of source_to_target_class_mapping"
            )

    def copies(self, class_names: Iterable[str], fold: int) -> int:
        """How often to write a frame of `fold` with objects of these (source) classes: 0 leaves it out."""
        if fold == self._validation_fold:
            return 1
        counts = Counter(self._mapping[name] for name in class_names if name in self._mapping)
        filtered = len(counts) == 1 and next(iter(counts)) in self._config.filter_samples_containing_only
        wanted = 0 if filtered else 1 + self._config.num_duplicates * self._is_rare(counts)
        if self._limit is not None:
            wanted = min(wanted, self._limit - self._written[fold])
        self._written[fold] += wanted
        return wanted

    def _is_rare(self, counts: Counter[str]) -> bool:
        """Whether a rare class outweighs a dominant one by more than its ratio."""
        ratios = self._config.minimum_target_class_imbalance
        return any(
            counts[rare] > counts[dominant] * ratios.get(rare, 1.0)
            for rare in set(self._mapping.values()) - self._dominant
            for dominant in self._dominant
        )
