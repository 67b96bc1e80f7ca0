"""What the channels of a detector's outputs mean: its classes and the units of its boxes."""

from __future__ import annotations

from dataclasses import dataclass

from qatkit.spec import Experiment, class_names

# What the customary spec sets, and what TAO's inference takes for granted; TAO's own files do not say.
DEFAULT_BOX_SCALE = 35.0
DEFAULT_BOX_OFFSET = 0.5


@dataclass(frozen=True)
class Labels:
    """classes: in the order of the channels. box_scale: pixels per unit of the bbox output.

    box_offset: pixels from a cell's corner to its reference point.
    """

    classes: tuple[str, ...]
    box_scale: float = DEFAULT_BOX_SCALE
    box_offset: float = DEFAULT_BOX_OFFSET

    @classmethod
    def from_spec(cls, experiment: Experiment) -> Labels:
        """Those of a training spec."""
        bbox = experiment.model_config.objective_set.bbox
        return cls(tuple(class_names(experiment)), bbox.scale, bbox.offset)

    @classmethod
    def unnamed(cls, count: int) -> Labels:
        """Those of a network from a file that names no classes, as TAO's: class_0, class_1, ..."""
        return cls(tuple(f"class_{index}" for index in range(count)))

    @property
    def are_unnamed(self) -> bool:
        """Whether the classes are still called as in `unnamed`, so that a spec may name them."""
        return self.classes == Labels.unnamed(len(self.classes)).classes
