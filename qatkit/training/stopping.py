"""SIGTERM and SIGINT while training: the first one lets the running step end, the second one ends at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How long a process that was told twice may take to remove temporary files and to note its end in status.json.
_GRACE = 2.0  # seconds


class StopAsked(Exception):  # noqa: N818 - not an error: someone asked
    """Raised where long work may end; what has been reached is still to be saved."""


class Stop:
    """Whether a signal has asked to end: `asked` is its number, 0 before. One object serves one training.

    Python runs a handler only between two of its own instructions, and however often a signal came meanwhile only
    once; a step, or its compilation, is one instruction. So a thread counts what arrives, and ends the process itself
    where a second signal finds the main thread busy.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._handled = 0
        self._arrived = 0
        self._over = threading.Event()
        self._former: dict[int, Any] = {}

    def check(self) -> None:
        """Raise StopAsked if a signal came."""
        if self.asked:
            raise StopAsked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block signals only ask. Ignored ones stay ignored; other threads than the main one hear none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        thread = threading.Thread(target=self._count, args=(ours,), name="signals", daemon=True)
        thread.start()
        former_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        heard = [number for number in _SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        self._former = {number: signal.signal(number, self._handle) for number in heard}
        try:
            yield
        finally:
            for number, former in self._former.items():
                signal.signal(number, former)
            signal.set_wakeup_fd(former_fd)
            self._over.set()
            theirs.close()
            thread.join()
            ours.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or number
        self._handled += 1
        if max(self._handled, self._arrived) < 2:
            return
        former = self._former[number]
        if callable(former):
            former(number, frame)  # raises what ends the program
        else:
            signal.signal(number, former)
            signal.raise_signal(signal.Signals(number))

    def _count(self, signals: socket.socket) -> None:
        while arrived := signals.recv(64):
            numbers = [number for number in arrived if number in self._former]
            self._arrived += len(numbers)
            if numbers and self._arrived >= 2 and not self._over.wait(_GRACE):
                os.write(2, b"error: ended at once, by a second signal\n")
                os._exit(128 + numbers[-1])
