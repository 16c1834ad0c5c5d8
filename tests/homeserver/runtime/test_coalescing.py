"""Whoever wants the same thing at the same time waits for the same work."""

import pytest
from twisted.internet.defer import Deferred

from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.concurrency import CancelledError
from tests.support.running import Running


class Work:
    """Counts how often it was begun, and ends when told."""

    def __init__(self) -> None:
        self.begun = 0
        self.end: Deferred[str] = Deferred()

    async def __call__(self) -> str:
        self.begun += 1
        return await self.end


def test_two_get_one_result() -> None:
    flights: Coalescing[str, str] = Coalescing()
    work = Work()
    first, second = Running(flights.run("a", work)), Running(flights.run("a", work))
    assert (work.begun, len(flights)) == (1, 1)
    work.end.callback("done")
    assert (first.result(), second.result(), len(flights)) == ("done", "done", 0)


def test_other_keys_are_other_work() -> None:
    flights: Coalescing[str, str] = Coalescing()
    one, other = Work(), Work()
    Running(flights.run("a", one))
    Running(flights.run("b", other))
    assert (one.begun, other.begun) == (1, 1)


def test_all_hear_of_a_failure() -> None:
    flights: Coalescing[str, str] = Coalescing()
    work = Work()
    both = [Running(flights.run("a", work)) for _ in range(2)]
    work.end.errback(ValueError("broken"))
    for one in both:
        with pytest.raises(ValueError, match="broken"):
            one.result()


def test_one_who_gives_up_leaves_the_others() -> None:
    flights: Coalescing[str, str] = Coalescing()
    work = Work()
    first, second = Running(flights.run("a", work)), Running(flights.run("a", work))
    first.cancel()
    with pytest.raises(CancelledError):
        first.result()
    work.end.callback("done")
    assert second.result() == "done"


def test_when_all_have_given_up_the_work_ends() -> None:
    flights: Coalescing[str, str] = Coalescing()
    work = Work()
    Running(flights.run("a", work)).cancel()
    assert len(flights) == 0
    again = Work()
    again.end.callback("new")
    assert Running(flights.run("a", again)).result() == "new"


def test_work_that_ends_at_once() -> None:
    flights: Coalescing[str, str] = Coalescing()
    work = Work()
    work.end.callback("here")
    assert Running(flights.run("a", work)).result() == "here"
    assert len(flights) == 0


def test_work_that_cannot_be_stopped_goes_on_alone() -> None:
    flights: Coalescing[str, str] = Coalescing(goes_on_alone=True)
    work = Work()
    first = Running(flights.run("a", work))
    first.cancel()
    with pytest.raises(CancelledError):
        first.result()
    late = Running(flights.run("a", work))
    work.end.callback("done")
    assert (late.result(), work.begun, len(flights)) == ("done", 1, 0)
