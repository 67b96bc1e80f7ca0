"""What every engine offers: images in, the two outputs of the network out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.labels import Labels
from qatkit.errors import ModelError, UsageError
from qatkit.graph.nodes import Shape

if TYPE_CHECKING:
    from qatkit.export.metadata import Metadata

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ModelInfo:
    """What is needed to use a network: the (height, width, channels) of its images, and what its outputs mean."""

    input_shape: Shape
    labels: Labels

    @classmethod
    def of(cls, shape: Shape, metadata: Metadata | None, given: Labels | None, path: Path) -> ModelInfo:
        """What is known of the network in file `path`: what its metadata say, else what a spec says (given).

        The spec also speaks for a network that was made of a TAO file, which names no classes. Raises UsageError when
        there is neither.
        """
        own = None if metadata is None else metadata.labels
        labels = given if own is None or (own.are_unnamed and given is not None) else own
        if labels is None:
            raise UsageError(f"{path} does not say what its classes are", hint="give the training spec with -e")
        return cls(shape, labels)

    def check(self, images: Array) -> None:
        """Raise UsageError for images of another size."""
        if images.shape[1:] != self.input_shape:
            raise UsageError(f"the network takes images {self.input_shape}, got {images.shape[1:]}")


def chunks(count: int, largest: int) -> Iterator[slice]:
    """`count` images in order, at most `largest` at once."""
    for start in range(0, count, largest):
        yield slice(start, min(start + largest, count))


def in_batches(run: Callable[[Array], tuple[Array, Array]], images: Array, size: int) -> tuple[Array, Array]:
    """The two outputs for images [B, H, W, C] of a network that takes exactly `size` at once; 0 = any number.

    The last batch is filled up with black images, whose outputs are dropped.
    """
    if size in (0, len(images)):
        return run(images)
    missing = -len(images) % size if len(images) else size
    filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    parts = [run(filled[part]) for part in chunks(len(filled), size)]
    cov, bbox = (np.concatenate(outputs)[: len(images)] for outputs in zip(*parts))
    return cov, bbox


class Engine(Protocol):
    """Runs a network. name: what runs it (keras, onnxruntime, tensorrt). precision: fp32, int8-ptq, int8-qat ..."""

    name: str
    precision: str
    info: ModelInfo

    def predict(self, images: Array) -> tuple[Array, Array]:
        """images: [B, H, W, C] in 0..1 -> cov [B, C, h, w] in 0..1, bbox [B, 4C, h, w] in units of box_scale.

        Raises UsageError for images of another size.
        """
        ...


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
