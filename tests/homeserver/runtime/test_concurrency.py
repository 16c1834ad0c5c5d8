import pytest

from homeserver.runtime.concurrency import (
    CancelledError,
    FairLimit,
    Gate,
    KeyedLock,
    Limit,
    TimedOut,
    gather,
    run,
    timeout,
    wait,
)
from tests.support.clock import FakeClock
from tests.support.running import Running, result


async def after(time: FakeClock, seconds: float, value: object) -> object:
    await time.sleep(seconds)
    if isinstance(value, Exception):
        raise value
    return value


class TestRun:
    def test_a_coroutine_begins_at_once(self) -> None:
        seen: list[int] = []

        async def begin() -> None:
            seen.append(1)

        run(begin())
        assert seen == [1]

    def test_a_deferred_can_be_awaited(self, time: FakeClock) -> None:
        running = Running(wait(run(after(time, 1, "x"))))
        time.advance(1)
        assert running.result() == "x"

    def test_cancelling_cancels_what_is_awaited(self, time: FakeClock) -> None:
        running = Running(after(time, 1, "x"))
        running.cancel()
        with pytest.raises(CancelledError):
            running.result()
        assert time.timers == 0


class TestGather:
    def test_results_come_in_the_order_given(self, time: FakeClock) -> None:
        running = Running(gather(after(time, 3, "a"), after(time, 1, "b"), after(time, 2, "c")))
        time.advance(2.9)
        assert not running.is_done
        time.advance(0.1)
        assert running.result() == ["a", "b", "c"]

    def test_nothing_to_gather(self) -> None:
        assert result(gather()) == []

    def test_the_first_failure_cancels_the_others(self, time: FakeClock) -> None:
        running = Running(
            gather(after(time, 5, "a"), after(time, 1, KeyError("b")), after(time, 2, ValueError("c")))
        )
        time.advance(1)
        with pytest.raises(KeyError, match="b"):
            running.result()
        assert time.timers == 0

    def test_cancelled_it_cancels_all(self, time: FakeClock) -> None:
        running = Running(gather(after(time, 5, "a"), after(time, 1, "b")))
        running.cancel()
        with pytest.raises(CancelledError):
            running.result()
        assert time.timers == 0


class TestTimeout:
    def test_in_time(self, time: FakeClock) -> None:
        running = Running(timeout(time, 2, after(time, 1, "x")))
        time.advance(1)
        assert running.result() == "x"
        assert time.timers == 0

    def test_too_late(self, time: FakeClock) -> None:
        running = Running(timeout(time, 2, after(time, 3, "x")))
        time.advance(2)
        with pytest.raises(TimedOut, match="2 s"):
            running.result()
        assert time.timers == 0

    def test_its_own_failure(self, time: FakeClock) -> None:
        running = Running(timeout(time, 2, after(time, 1, KeyError("x"))))
        time.advance(1)
        with pytest.raises(KeyError):
            running.result()
        assert time.timers == 0

    def test_cancelled_from_outside(self, time: FakeClock) -> None:
        running = Running(timeout(time, 2, after(time, 1, "x")))
        running.cancel()
        with pytest.raises(CancelledError):
            running.result()
        assert time.timers == 0


class TestGate:
    def test_everyone_waits_until_it_opens(self) -> None:
        gate = Gate()
        waiting = [Running(gate.wait()) for _ in range(3)]
        assert gate.waiting == 3
        assert not any(one.is_done for one in waiting)
        gate.open()
        assert all(one.is_done for one in waiting)
        assert gate.waiting == 0
        result(gate.wait())

    def test_closed_again_it_holds_the_next_ones(self) -> None:
        gate = Gate(is_open=True)
        result(gate.wait())
        gate.close()
        assert not Running(gate.wait()).is_done

    def test_a_pulse_lets_through_those_who_wait_now(self) -> None:
        gate = Gate()
        first = Running(gate.wait())
        gate.pulse()
        assert first.is_done
        assert not Running(gate.wait()).is_done

    def test_waiting_for_a_while(self, time: FakeClock) -> None:
        gate = Gate()
        patient, impatient = Running(gate.wait_for(time, 5)), Running(gate.wait_for(time, 1))
        time.advance(1)
        assert impatient.result() is False
        assert gate.waiting == 1
        gate.open()
        assert patient.result() is True
        assert time.timers == 0
        assert result(gate.wait_for(time, 0)) is True

    def test_who_is_cancelled_waits_no_longer(self, time: FakeClock) -> None:
        gate = Gate()
        running = Running(gate.wait_for(time, 5))
        running.cancel()
        with pytest.raises(CancelledError):
            running.result()
        assert gate.waiting == 0
        assert time.timers == 0
        gate.open()

    def test_one_let_through_may_cancel_the_next(self) -> None:
        gate = Gate()
        others: list[Running] = []

        async def first() -> None:
            await gate.wait()
            others[0].cancel()

        Running(first())
        others.append(Running(gate.wait()))
        gate.open()
        with pytest.raises(CancelledError):
            others[0].result()


class TestFairLimit:
    def test_one_key_cannot_take_all_places(self) -> None:
        limit: FairLimit[str] = FairLimit(3, 2)
        held: list[str] = []
        gate = Gate()

        async def hold(key: str) -> None:
            async with limit.place(key):
                held.append(key)
                await gate.wait()

        tasks = [run(hold(key)) for key in ("a", "a", "a", "a", "b", "c")]
        assert held == ["a", "a", "b"]
        gate.pulse()
        assert held == ["a", "a", "b", "c", "a", "a"] or sorted(held) == sorted("aabcaa")
        gate.open()
        assert all(task.called for task in tasks)
        assert len(limit) == 0

    def test_who_gives_up_waiting_leaves_nothing_behind(self) -> None:
        limit: FairLimit[str] = FairLimit(1, 1)
        gate = Gate()

        async def hold(key: str) -> None:
            async with limit.place(key):
                await gate.wait()

        first, same, other = run(hold("a")), run(hold("a")), run(hold("b"))
        for task in (same, other):
            task.addErrback(lambda failure: failure.trap(CancelledError))
            task.cancel()
        gate.open()
        assert first.called
        assert len(limit) == 0


class TestLimit:
    def test_so_many_at_a_time_in_order_of_arrival(self, time: FakeClock) -> None:
        limit = Limit(2)
        seen: list[str] = []

        async def visit(name: str) -> None:
            async with limit.place():
                seen.append(name)
                await time.sleep(1)

        for name in "abcde":
            Running(visit(name))
        assert seen == ["a", "b"]
        time.advance(1)
        assert seen == ["a", "b", "c", "d"]
        time.advance(1)
        assert seen == ["a", "b", "c", "d", "e"]
        time.advance(1)
        assert limit.idle

    def test_who_is_cancelled_in_line_takes_no_place(self, time: FakeClock) -> None:
        limit = Limit(1)
        result(limit.enter())
        cancelled, next_one = Running(limit.enter()), Running(limit.enter())
        cancelled.cancel()
        limit.leave()
        assert next_one.is_done
        limit.leave()
        assert limit.idle

    def test_a_long_line_of_those_who_are_done_at_once(self) -> None:
        limit = Limit(1)
        result(limit.enter())
        seen: list[int] = []

        async def visit(number: int) -> None:
            async with limit.place():
                seen.append(number)

        for number in range(5_000):
            Running(visit(number))
        limit.leave()
        assert seen == list(range(5_000))
        assert limit.idle


class TestKeyedLock:
    def test_one_at_a_time_for_each_key(self, time: FakeClock) -> None:
        lock = KeyedLock()
        seen: list[str] = []

        async def work(key: str, name: str) -> None:
            async with lock.hold(key):
                seen.append(name)
                await time.sleep(1)

        for key, name in (("x", "x1"), ("y", "y1"), ("x", "x2"), ("x", "x3")):
            Running(work(key, name))
        assert seen == ["x1", "y1"]
        time.advance(1)
        assert seen == ["x1", "y1", "x2"]
        time.advance(2)
        assert seen == ["x1", "y1", "x2", "x3"]
        assert len(lock) == 0

    def test_a_failure_lets_go(self) -> None:
        lock = KeyedLock()

        async def fail() -> None:
            async with lock.hold("x"):
                raise KeyError

        with pytest.raises(KeyError):
            result(fail())
        assert len(lock) == 0
