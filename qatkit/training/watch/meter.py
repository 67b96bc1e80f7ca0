"""Where the time of a training goes: how many images a second, what it waits for, how long it will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_RECENT = 50  # steps


class Meter:
    """Measures the steps of one epoch, and of the last ones.

    Waiting for input is the time until the next batch is there; the rest is the device's (and the loop's own).
    """

    def __init__(self, images_per_step: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._images = images_per_step
        self._clock = clock
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)  # seconds of waiting, and in all
        self._waited = self._seconds = 0.0
        self._steps = 0
        self._first = True

    def epoch(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches of an epoch; what is done between two of them is a step."""
        self._waited, self._seconds, self._steps = 0.0, 0.0, 0
        source = iter(batches)
        while True:
            began = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            waited = self._clock() - began
            yield batch
            self._add(waited, self._clock() - began)

    def _add(self, waited: float, seconds: float) -> None:
        self._waited += waited
        self._seconds += seconds
        self._steps += 1
        if self._first:  # the step is compiled: it says nothing about the next ones
            self._first = False
        else:
            self._recent.append((waited, seconds))

    @property
    def images_per_second(self) -> float:
        """Over the epoch so far."""
        return self._steps * self._images / self._seconds if self._seconds else 0.0

    @property
    def input_share(self) -> float:
        """Share 0..1 of the epoch's time so far in which the device waited for input."""
        return self._waited / self._seconds if self._seconds else 0.0

    def facts(self, steps_left: int) -> str:
        """`21.4 images/s, ETA 0:12:03, waits for input 61 %` of the last steps; "" before there are any."""
        seconds = sum(seconds for _, seconds in self._recent)
        if not seconds:
            return ""
        count = len(self._recent)
        speed, left = count * self._images / seconds, clock(steps_left * seconds / count)
        return f"{speed:.1f} images/s, ETA {left}, {waits_for(sum(waited for waited, _ in self._recent) / seconds)}"


def waits_for(input_share: float) -> str:
    """What most of the time goes into: `waits for input 61 %`, or `waits for the device 88 %`."""
    if input_share > 0.5:
        return f"waits for input {100 * input_share:.0f} %"
    return f"waits for the device {100 - 100 * input_share:.0f} %"


def clock(seconds: float) -> str:
    """`1:02:03`."""
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
