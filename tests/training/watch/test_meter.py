from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from qatkit.training.watch.meter import Meter, clock, waits_for


class Time:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(time: Time, seconds: Sequence[float]) -> Iterator[float]:
    """Batches that take this long to come."""
    for one in seconds:
        time.now += one
        yield one


@pytest.fixture
def time() -> Time:
    return Time()


def test_before_the_first_step(time: Time) -> None:
    meter = Meter(4, time)
    assert (meter.images_per_second, meter.input_share, meter.facts(10)) == (0, 0, "")
    assert list(meter.epoch(waiting(time, []))) == []
    assert (meter.images_per_second, meter.input_share, meter.facts(10)) == (0, 0, "")


def test_the_time_until_a_batch_is_there_is_waiting(time: Time) -> None:
    meter = Meter(4, time)
    for _ in meter.epoch(waiting(time, [1.0, 3.0])):
        time.now += 2.0
    assert meter.input_share == 0.5
    assert meter.images_per_second == 1.0


def test_the_first_step_of_a_process_says_nothing_about_the_next(time: Time) -> None:
    """It is compiled."""
    meter = Meter(8, time)
    for number in meter.epoch(waiting(time, [0.0, 1.0, 1.0])):
        time.now += 100.0 if number == 0.0 else 3.0
    assert meter.facts(15) == "2.0 images/s, ETA 0:01:00, waits for the device 75 %"
    assert meter.images_per_second == pytest.approx(24 / 108)


def test_each_epoch_is_measured_anew(time: Time) -> None:
    meter = Meter(1, time)
    for waits in ([5.0], [0.0, 0.0]):
        for _ in meter.epoch(waiting(time, waits)):
            time.now += 5.0
    assert (meter.input_share, meter.images_per_second) == (0, 0.2)
    assert meter.facts(0) == "0.2 images/s, ETA 0:00:00, waits for the device 100 %"


def test_batches_are_asked_for_one_at_a_time(time: Time) -> None:
    """The training resumes at an exact step."""
    taken: list[int] = []
    source = (taken.append(number) or number for number in range(9))
    for number in Meter(1, time).epoch(source):
        assert taken[-1] == number
        if number == 3:
            break
    assert taken == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "share, text",
    [
        (0.0, "waits for the device 100 %"),
        (0.5, "waits for the device 50 %"),
        (0.51, "waits for input 51 %"),
        (1, "waits for input 100 %"),
    ],
)
def test_what_most_time_goes_into(share: float, text: str) -> None:
    assert waits_for(share) == text


@pytest.mark.parametrize("seconds, text", [(0, "0:00:00"), (61.9, "0:01:01"), (90_000, "25:00:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
