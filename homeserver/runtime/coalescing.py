"""One piece of work for all who want the same thing at the same time."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.runtime.concurrency import run

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Coalescing(Generic[K, T]):
    """Work under way, by key. Whoever asks meanwhile gets the same result or the same failure.

    Cancelling one who waits leaves the others waiting; when nobody waits any more the work is
    cancelled, unless it `goes_on_alone`.
    """

    def __init__(self, *, goes_on_alone: bool = False) -> None:
        self._goes_on_alone = goes_on_alone
        self._flights: dict[K, _Flight[T]] = {}

    async def run(self, key: K, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the work under `key`; `begin` makes it if there is none yet."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(goes_on_alone=self._goes_on_alone)
            flight.begin(begin(), lambda: self._flights.pop(key, None))
        return await flight.join()

    def __len__(self) -> int:
        """How much is under way."""
        return len(self._flights)


class _Flight(Generic[T]):
    __slots__ = ("_goes_on_alone", "_outcome", "_running", "_waiting")

    def __init__(self, *, goes_on_alone: bool) -> None:
        self._goes_on_alone = goes_on_alone
        self._waiting: dict[Deferred[T], None] = {}
        self._outcome: list[T | Failure] = []
        self._running: Deferred[T] | None = None

    def begin(self, work: Coroutine[Any, Any, T], on_end: Callable[[], object]) -> None:
        def landed(outcome: T | Failure) -> None:
            on_end()
            self._outcome.append(outcome)
            waiting, self._waiting = self._waiting, {}
            for deferred in waiting:
                _deliver(deferred, outcome)

        self._running = run(work)
        self._running.addBoth(landed)

    def join(self) -> "Deferred[T]":
        deferred: Deferred[T] = Deferred(self._leave)
        if self._outcome:
            _deliver(deferred, self._outcome[0])
        else:
            self._waiting[deferred] = None
        return deferred

    def _leave(self, deferred: "Deferred[T]") -> None:
        self._waiting.pop(deferred, None)
        if self._waiting or self._outcome or self._goes_on_alone:
            return
        if self._running is not None:
            self._running.cancel()


def _deliver(deferred: "Deferred[T]", outcome: T | Failure) -> None:
    if deferred.called:
        return  # one told before it has cancelled it
    if isinstance(outcome, Failure):
        deferred.errback(outcome)
    else:
        deferred.callback(outcome)
