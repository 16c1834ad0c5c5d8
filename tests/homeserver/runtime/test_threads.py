import threading
from collections.abc import Iterator

import pytest

from homeserver.runtime import log_context
from homeserver.runtime.threads import Postbox, Threads
from tests.support.running import Running, ThreadLoop


@pytest.fixture
def loop() -> ThreadLoop:
    return ThreadLoop()


@pytest.fixture
def threads(loop: ThreadLoop) -> Iterator[Threads]:
    threads = Threads(loop, "test", 2)
    yield threads
    loop.result(threads.stop())


def test_work_runs_on_another_thread_and_answers_here(loop: ThreadLoop, threads: Threads) -> None:
    assert loop.result(threads.run(threading.get_ident)) != threading.get_ident()
    assert loop.result(threads.run(pow, 2, 5)) == 32
    assert loop.result(threads.run(int, "11", base=2)) == 3


def test_what_it_raises_is_raised_here(loop: ThreadLoop, threads: Threads) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        loop.result(threads.run(int, "x"))


def test_threads_start_when_needed_and_no_more_than_allowed(loop: ThreadLoop, threads: Threads) -> None:
    assert threads._threads == []
    loop.result(threads.run(int))
    loop.result(threads.run(int))
    assert len(threads._threads) == 1
    go = threading.Event()
    waiting = [Running(threads.run(go.wait, 10)) for _ in range(5)]
    assert len(threads._threads) == 2
    assert threads.unanswered == 5
    go.set()
    loop.until(lambda: all(one.is_done for one in waiting))
    assert threads.unanswered == 0


def test_the_log_context_goes_along(loop: ThreadLoop, threads: Threads) -> None:
    async def work() -> str:
        log_context.enter("request-1")
        return await threads.run(log_context.current)

    assert loop.result(work()) == "request-1"
    assert loop.result(threads.run(log_context.current)) == log_context.NOBODY


def test_a_job_cancelled_before_it_began_never_begins(loop: ThreadLoop) -> None:
    threads = Threads(loop, "test", 1)
    go, seen = threading.Event(), []
    first = Running(threads.run(go.wait, 10))
    second = Running(threads.run(seen.append, 1))
    second.cancel()
    assert second.is_done
    go.set()
    loop.until(lambda: first.is_done)
    loop.result(threads.stop())
    assert seen == []


def test_stop_finishes_what_was_asked_for(loop: ThreadLoop) -> None:
    threads = Threads(loop, "test", 1)
    running = [Running(threads.run(pow, number, 2)) for number in range(50)]
    loop.result(threads.stop())
    assert [one.result() for one in running] == [number**2 for number in range(50)]
    with pytest.raises(RuntimeError, match="stopped"):
        loop.result(threads.run(int))
    loop.result(threads.stop())


def test_a_postbox_delivers_in_order_and_wakes_seldom(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[object] = []

    class Reactor:
        def callFromThread(self, f: object, *args: object, **kwargs: object) -> None:
            calls.append(f)

    box, seen = Postbox(Reactor()), []
    for number in range(3):
        box.post(seen.append, number)
    box.post(seen.index, "missing")
    box.post(seen.append, 3)
    assert len(calls) == 1
    calls.pop()()  # type: ignore[operator]
    assert seen == [0, 1, 2, 3]
    assert "failed" in caplog.text
    box.post(seen.append, 4)
    assert len(calls) == 1
