"""Objects of source classes that a loss mask names: ids of their own, behind those of the network's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qatkit.spec import Experiment, class_names


@dataclass(frozen=True)
class ToldApart:
    """What label ids mean: 0..C-1 the network's classes, from C on the objects that records call one of `sources`.

    of_class: for each of `sources` the class that it is mapped to, -1 for one that is not learned.
    """

    classes: tuple[str, ...]
    sources: tuple[str, ...] = ()
    of_class: tuple[int, ...] = ()

    @classmethod
    def from_spec(cls, experiment: Experiment) -> ToldApart:
        """The source classes of `loss_mask_label_filter` that are no class of the network as they are."""
        classes = tuple(class_names(experiment))
        mapping = experiment.dataset_config.target_class_mapping
        named: dict[str, None] = {}
        for item in experiment.loss_mask_label_filter.objective_label_filter_configs:
            named |= dict.fromkeys(item.label_filter.source_class_label_filter.source_class_names)
        sources = tuple(name for name in named if name not in mapping or mapping[name] != name)
        targets = [mapping.get(name, "") for name in sources]
        return cls(classes, sources, tuple(classes.index(name) if name in classes else -1 for name in targets))

    @property
    def table(self) -> NDArray[np.int32]:
        """Label id -> class; the last entry is that of no object, -1, which NumPy finds under this index too."""
        return np.array([*range(len(self.classes)), *self.of_class, -1], np.int32)

    def ids_named(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """[L] which label ids are objects whose source class, or class (as in TAO), is one of `names`."""
        classes = (*self.classes, "")
        sources = [name in names or classes[target] in names for name, target in zip(self.sources, self.of_class)]
        return np.array([*(name in names for name in self.classes), *sources], np.bool_)
