from contextlib import suppress

import pytest

from homeserver.runtime import log_context
from homeserver.runtime.concurrency import CancelledError
from homeserver.runtime.database import DatabaseUnavailable
from homeserver.runtime.tasks import LONGEST_STOP_S, Tasks
from tests.support.clock import FakeClock
from tests.support.running import Running


@pytest.fixture
def tasks(time: FakeClock) -> Tasks:
    return Tasks(time)


def test_a_task_runs_until_it_ends(tasks: Tasks, time: FakeClock) -> None:
    task = tasks.start("nap", time.sleep(1))
    done = Running(task.done())
    assert tasks.names() == ["nap"]
    assert not task.is_done
    assert not done.is_done
    time.advance(1)
    assert tasks.names() == []
    assert task.is_done
    assert done.is_done
    assert Running(task.done()).is_done


def test_a_task_that_ends_at_once(tasks: Tasks) -> None:
    async def nothing() -> None:
        return

    task = tasks.start("nothing", nothing())
    assert task.is_done
    assert tasks.names() == []
    task.cancel()


def test_a_failure_is_logged_under_its_name_and_goes_no_further(
    tasks: Tasks, time: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        await time.sleep(1)
        raise KeyError("what went wrong")

    task = tasks.start("push to gateway", fail())
    time.advance(1)
    assert task.is_done
    assert "'push to gateway' failed" in caplog.text
    assert "what went wrong" in caplog.text


def test_a_database_that_is_gone_is_told_without_a_traceback(
    tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable("The database is gone: put it back")

    tasks.start("save", fail())
    [record] = caplog.records
    assert record.getMessage() == "Background work 'save' failed: The database is gone: put it back"
    assert record.exc_info is None


def test_log_lines_bear_the_tasks_name(tasks: Tasks, time: FakeClock) -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(log_context.current())
        await time.sleep(1)
        seen.append(log_context.current())

    tasks.start("sweep", work())
    assert log_context.current() == log_context.NOBODY
    time.advance(1)
    assert seen == ["sweep", "sweep"]


def test_a_cancelled_task_stops_where_it_waits(tasks: Tasks, time: FakeClock) -> None:
    task = tasks.start("nap", time.sleep(60))
    task.cancel()
    assert task.is_done
    assert time.timers == 0


def test_stop_all_stops_all_and_waits_for_them(tasks: Tasks, time: FakeClock) -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        try:
            await time.sleep(60)
        finally:
            seen.append(name)

    for name in "abc":
        tasks.start(name, work(name))
    assert Running(tasks.stop_all()).is_done
    assert seen == ["c", "b", "a"]
    assert tasks.names() == []


def test_a_task_that_did_not_hear_is_asked_again(tasks: Tasks, time: FakeClock) -> None:
    async def busy() -> None:
        with suppress(CancelledError):
            await time.sleep(60)
        await time.sleep(60)  # as after a write, which cannot be cancelled

    tasks.start("busy", busy())
    stopping = Running(tasks.stop_all())
    assert not stopping.is_done
    time.advance(0.2)
    assert stopping.is_done
    assert tasks.names() == []


def test_one_that_never_stops_is_named_and_left(
    tasks: Tasks, time: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def stubborn() -> None:
        for _ in range(1_000):
            with suppress(CancelledError):
                await time.sleep(60)

    tasks.start("stubborn", stubborn())
    stopping = Running(tasks.stop_all())
    time.advance(LONGEST_STOP_S + 1)
    assert stopping.is_done
    assert "does not stop: stubborn" in caplog.text


def test_nothing_starts_any_more_after_stop_all(tasks: Tasks) -> None:
    seen: list[int] = []

    async def work() -> None:
        seen.append(1)

    Running(tasks.stop_all())
    assert tasks.start("late", work()).is_done
    assert seen == []
