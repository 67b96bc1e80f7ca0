"""What the tensors of a detector mean: which output is which, its classes, the units of its boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qatkit.detectnet.labels import Labels
from qatkit.engine.base import ModelInfo
from qatkit.errors import ModelError, UsageError
from qatkit.export.metadata import Metadata
from qatkit.graph.nodes import Shape

if TYPE_CHECKING:
    from qatkit.spec import Experiment


def model_info(input_shape: Shape, metadata: Metadata | None, spec: Experiment | None, path: Path) -> ModelInfo:
    """What is known of the network in file `path`: what its metadata say, else what the training spec says.

    The spec also speaks for a network that was made of a TAO file, which names no classes. Raises UsageError when
    there is neither.
    """
    named = metadata is not None and not Labels(metadata.classes).are_unnamed
    if metadata is not None and (named or spec is None):
        return ModelInfo(input_shape, metadata.classes, metadata.box_scale, metadata.box_offset)
    if spec is not None:
        box = spec.model_config.objective_set.bbox
        classes = tuple(item.name for item in spec.cost_function_config.target_classes)
        return ModelInfo(input_shape, classes, box.scale, box.offset)
    raise UsageError(f"{path} does not say what its classes are", hint="give the training spec with -e")


def find_heads(channels: Mapping[str, int], path: Path) -> tuple[str, str]:
    """Names of the coverage and the bbox output: by name, else the one with four times the channels is bbox.

    channels: output -> number of its channels. Raises ModelError for outputs of another network.
    """
    names = list(channels)
    if len(names) != 2:
        raise ModelError(f"{path}: has {len(names)} outputs, a detector has coverage and bbox")
    by_name = [next((name for name in names if part in name), "") for part in ("cov", "bbox")]
    if all(by_name) and by_name[0] != by_name[1]:
        return by_name[0], by_name[1]
    for cov, bbox in (names, names[::-1]):
        if 0 < channels[bbox] == 4 * channels[cov]:
            return cov, bbox
    raise ModelError(f"{path}: its outputs {', '.join(names)} are no coverage and bbox")
