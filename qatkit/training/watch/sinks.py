"""Where values of a training go that people watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qatkit.console import warn
from qatkit.errors import QatkitError


class Sink(Protocol):
    """Takes values by name. step: how many training steps are done."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers."""

    def histograms(self, values: Mapping[str, NDArray[np.float32]], step: int) -> None:
        """Arrays of any shape, of which the distribution is shown."""

    def images(self, name: str, images: NDArray[np.uint8], step: int) -> None:
        """RGB images [n, H, W, 3]."""

    def close(self, *, failed: bool) -> None:
        """Write what is left. failed: whether the training ends with an error."""


class Guarded:
    """A sink that takes part as long as it works: its first error is told, and the training goes on without it."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name = name
        self._sink: Sink | None = sink

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._try(lambda sink: sink.scalars(values, step))

    def histograms(self, values: Mapping[str, NDArray[np.float32]], step: int) -> None:
        self._try(lambda sink: sink.histograms(values, step))

    def images(self, name: str, images: NDArray[np.uint8], step: int) -> None:
        self._try(lambda sink: sink.images(name, images, step))

    def close(self, *, failed: bool) -> None:
        self._try(lambda sink: sink.close(failed=failed))

    def _try(self, use: Callable[[Sink], None]) -> None:
        if self._sink is None:
            return
        try:
            use(self._sink)
        except Exception as error:  # a library for the network, or a full disk
            self._sink = None
            warn(f"{self._name}: {reason(error)}; training goes on without it")


def reason(error: Exception) -> str:
    """What a user is told of an error in what only watches: our own words, or its kind."""
    return str(error) if isinstance(error, QatkitError) else f"failed ({type(error).__name__})"
