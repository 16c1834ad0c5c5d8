"""Many keys with something due, one timer for all."""

import random

import pytest

from homeserver.runtime.timing_wheel import TimingWheel
from tests.support.clock import FakeClock


@pytest.fixture
def looked() -> list[tuple[str, float]]:
    return []


@pytest.fixture
def wheel(time: FakeClock, looked: list[tuple[str, float]]) -> TimingWheel[str]:
    return TimingWheel(time, lambda key: looked.append((key, time.monotonic())), step_s=5)


def test_a_key_is_looked_at_soon_after_it_is_due(
    wheel: TimingWheel[str], time: FakeClock, looked: list[tuple[str, float]]
) -> None:
    wheel.put("a", 12)
    time.advance(12)
    assert looked == []
    time.advance(10)
    assert [key for key, _ in looked] == ["a"]


def test_putting_off_costs_no_second_look(
    wheel: TimingWheel[str], time: FakeClock, looked: list[tuple[str, float]]
) -> None:
    for due in (10, 11, 30, 60):
        wheel.put("a", due)
    time.advance(100)
    assert len(looked) == 1
    assert 10 <= looked[0][1] <= 20


def test_something_earlier_counts(
    wheel: TimingWheel[str], time: FakeClock, looked: list[tuple[str, float]]
) -> None:
    wheel.put("a", 60)
    wheel.put("a", 10)
    time.advance(100)
    assert len(looked) == 1
    assert looked[0][1] <= 20


def test_there_is_one_timer_and_none_when_nothing_is_due(wheel: TimingWheel[str], time: FakeClock) -> None:
    timers = time.timers
    for number in range(100):
        wheel.put(str(number), number)
    assert time.timers == timers + 1
    time.advance(200)
    assert time.timers == timers


def test_whoever_looks_may_put_the_key_down_again(time: FakeClock) -> None:
    looks: list[float] = []

    def look(key: str) -> None:
        looks.append(time.monotonic())
        if len(looks) < 3:
            wheel.put(key, time.monotonic() + 20)

    wheel = TimingWheel(time, look, step_s=5)
    wheel.put("a", 1)
    time.advance(200)
    assert len(looks) == 3


def test_after_stop_nothing_is_looked_at(
    wheel: TimingWheel[str], time: FakeClock, looked: list[tuple[str, float]]
) -> None:
    timers = time.timers
    wheel.put("a", 1)
    wheel.stop()
    time.advance(100)
    assert (looked, time.timers) == ([], timers)


def test_never_early_never_later_than_two_steps(
    wheel: TimingWheel[str], time: FakeClock, looked: list[tuple[str, float]]
) -> None:
    dice = random.Random(5)
    due = {str(number): dice.uniform(0, 500) for number in range(300)}
    for key, at in due.items():
        wheel.put(key, at)
    time.advance(600)
    assert len(looked) == len(due)
    for key, at in looked:
        assert due[key] <= at <= due[key] + 10
