"""How fast engines are, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qatkit.engine.base import Engine


def images_per_second(engines: Sequence[Engine], image: NDArray[np.float32], rounds: int = 15) -> list[float]:
    """Median images per second of each engine at batch size 1; image: [1, H, W, C].

    The engines take turns, so that a machine whose speed drifts drifts for all of them.
    """
    for engine in engines:
        engine.predict(image)  # the first call prepares
    seconds = np.zeros((rounds, len(engines)))
    for turn in range(rounds):
        for position, engine in enumerate(engines):
            began = time.perf_counter()
            engine.predict(image)
            seconds[turn, position] = time.perf_counter() - began
    return [float(1 / value) for value in np.median(seconds, axis=0)]
