import time as real_time

from twisted.internet import task

from homeserver.runtime.clock import Clock
from tests.support.clock import START_S, FakeClock
from tests.support.running import Running


def test_the_wall_clock_counts_milliseconds_since_1970() -> None:
    clock = Clock(task.Clock())
    assert abs(clock.now_ms() - real_time.time() * 1000) < 10_000
    assert isinstance(clock.now_ms(), int)


def test_the_monotonic_clock_counts_seconds() -> None:
    clock = Clock(task.Clock())
    assert abs(clock.monotonic() - real_time.monotonic()) < 10


def test_call_later_calls_when_due(time: FakeClock) -> None:
    seen: list[str] = []
    time.call_later(2, seen.append, "x")
    time.advance(1.9)
    assert seen == []
    time.advance(0.1)
    assert seen == ["x"]


def test_a_cancelled_call_never_comes(time: FakeClock) -> None:
    seen: list[str] = []
    call = time.call_later(2, seen.append, "x")
    assert call.active()
    call.cancel()
    time.advance(3)
    assert seen == []
    assert not call.active()


def test_sleep_lets_time_pass(time: FakeClock) -> None:
    running = Running(time.sleep(1))
    assert not running.is_done
    time.advance(1)
    running.result()


def test_a_cancelled_sleep_leaves_no_timer(time: FakeClock) -> None:
    Running(time.sleep(1)).cancel()
    assert time.timers == 0


def test_the_fake_clock_makes_things_happen_at_their_own_time(time: FakeClock) -> None:
    seen: list[int] = []

    async def every_second() -> None:
        while True:
            await time.sleep(1)
            seen.append(time.now_ms() - int(START_S * 1000))

    Running(every_second())
    time.advance(3.5)
    assert seen == [1_000, 2_000, 3_000]
    assert time.monotonic() == 3.5
