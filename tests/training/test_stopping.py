"""Signals while training: here to a small process of its own, and to this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from qatkit.training.stopping import Stop, StopAsked
from tests.support.commands import ROOT


class Former(BaseException):
    """What the handler before raises."""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Both signals raise Former, as the command line has them raise what ends the program."""

    def handle(number: int, frame: object) -> None:
        raise Former(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, former in before.items():
        signal.signal(number, former)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_only_asks(handlers: None, number: signal.Signals) -> None:
    stop = Stop()
    with stop.listening():
        stop.check()
        signal.raise_signal(number)
        assert stop.asked == number
        with pytest.raises(StopAsked):
            stop.check()
    with pytest.raises(Former):  # listening is over
        signal.raise_signal(number)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_one_does_what_it_did_before(handlers: None, second: signal.Signals) -> None:
    stop = Stop()
    with pytest.raises(Former) as caught, stop.listening():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(second)
    assert caught.value.args == (second,)
    assert stop.asked == signal.SIGTERM


def test_an_ignored_signal_stays_ignored(handlers: None) -> None:
    """As in what a shell runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = Stop()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        assert not stop.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_handlers_are_as_before(handlers: None) -> None:
    before, threads = signal.getsignal(signal.SIGTERM), threading.active_count()
    with Stop().listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_another_thread_hears_nothing() -> None:
    heard = []

    def work() -> None:
        with Stop().listening():
            heard.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [before]


# A step is one instruction to Python, and may take minutes where it is compiled first.
BUSY = """
import hashlib, sys
from qatkit.training.stopping import Stop
with Stop().listening():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_a_process_that_is_busy(number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (code, "error: ended at once, by a second signal\n")
