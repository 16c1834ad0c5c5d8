"""Doing things at the same time, and waiting. The only place where Deferreds show.

Everything above is `async def`. A coroutine is awaited, given to `Tasks.start`, or, where
callbacks meet coroutines (a protocol, a test), to `run`.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Coroutine, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.runtime.clock import Clock

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

__all__ = [
    "CancelledError",
    "FairLimit",
    "Gate",
    "KeyedLock",
    "Limit",
    "TimedOut",
    "gather",
    "run",
    "timeout",
    "wait",
]


class TimedOut(Exception):
    """What was awaited took longer than it may."""


def failure_of(error: BaseException) -> Failure:
    """What a Deferred is failed with."""
    return Failure(error)  # type: ignore[no-untyped-call]


def run(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Start a coroutine at once; the Deferred fires with its result. Cancelling it cancels what it awaits.

    Somebody must look at a failure: callers add an errback or await the Deferred.
    """
    return Deferred.fromCoroutine(coroutine)


async def wait(deferred: Awaitable[T]) -> T:
    """Await a Deferred that some library returned."""
    return await deferred


async def gather(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Run them side by side; results in the given order.

    When one fails the others are cancelled and, once they have all stopped, its error is raised.
    """
    if not coroutines:
        return []
    results: dict[int, T] = {}
    failures: list[Failure] = []
    all_stopped: Deferred[None] = Deferred(lambda _: cancel_all())
    running = [run(coroutine) for coroutine in coroutines]

    def cancel_all() -> None:
        for deferred in running:
            deferred.cancel()

    def stopped(outcome: T | Failure, index: int) -> None:
        if isinstance(outcome, Failure):
            failures.append(outcome)
            if len(failures) == 1:
                cancel_all()
        else:
            results[index] = outcome
        if len(results) + len(failures) == len(running) and not all_stopped.called:
            all_stopped.callback(None)

    for index, deferred in enumerate(running):
        deferred.addBoth(stopped, index)
    await all_stopped
    if failures:
        failures[0].raiseException()
    return [results[index] for index in range(len(running))]


async def timeout(clock: Clock, seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result; after `seconds` it is cancelled and TimedOut raised."""
    deferred = run(coroutine)
    expired: list[bool] = []

    def expire() -> None:
        expired.append(True)
        deferred.cancel()

    call = clock.call_later(seconds, expire)
    try:
        return await deferred
    except CancelledError:
        if expired:
            raise TimedOut(f"No answer within {seconds:g} s") from None
        raise
    finally:
        if not expired:
            call.cancel()


class Gate:
    """Closed until opened: many may wait before it. Opening lets all of them through.

    Cheap in memory, since held syncs stand here by the ten thousand: see `wait`.
    """

    __slots__ = ("_waiting", "is_open")

    def __init__(self, *, is_open: bool = False) -> None:
        self.is_open = is_open
        self._waiting: dict[Deferred[bool], None] = {}

    def open(self) -> None:
        """Let everyone through, in the order in which they came, now and from now on."""
        self.is_open = True
        self._let_through()

    def close(self) -> None:
        """Make the next ones wait."""
        self.is_open = False

    def pulse(self) -> None:
        """Let through those who wait now; who comes later waits."""
        self._let_through()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def wait(self) -> None:
        """Return once it is open."""
        if not self.is_open:
            await self._join()

    async def wait_for(self, clock: Clock, seconds: float) -> bool:
        """Wait at most `seconds`. Did it open?"""
        if self.is_open:
            return True
        deferred = self._join()
        call = clock.call_later(seconds, self._give_up, deferred)
        try:
            return await deferred
        finally:
            if call.active():
                call.cancel()

    def _join(self) -> Deferred[bool]:
        deferred: Deferred[bool] = Deferred(self._leave)
        self._waiting[deferred] = None
        return deferred

    def _leave(self, deferred: Deferred[bool]) -> None:
        self._waiting.pop(deferred, None)

    def _give_up(self, deferred: Deferred[bool]) -> None:
        if deferred in self._waiting:
            del self._waiting[deferred]
            deferred.callback(False)

    def _let_through(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for deferred in waiting:
            if not deferred.called:  # one let through before it may have cancelled it
                deferred.callback(True)


class Limit:
    """At most `places` at a time inside `async with limit.place()`; others wait their turn."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[Deferred[None], None] = {}
        self._left = 0  # places given back that are not passed on yet
        self._is_passing_on = False

    def place(self) -> "_Place":
        """A place for the length of an `async with` block."""
        return _Place(self)

    async def enter(self) -> None:
        """Wait for a place; pair with `leave`."""
        if self._free:
            self._free -= 1
            return
        deferred: Deferred[None] = Deferred(lambda me: self._waiting.pop(me, None))
        self._waiting[deferred] = None
        await deferred

    def leave(self) -> None:
        """Give the place to the next in line."""
        self._left += 1
        if self._is_passing_on:
            return  # the next in line was done at once: who let them in goes on, lest the stack overflow
        self._is_passing_on = True
        try:
            while self._left:
                self._left -= 1
                self._pass_on()
        finally:
            self._is_passing_on = False

    def _pass_on(self) -> None:
        while self._waiting:
            deferred = next(iter(self._waiting))
            del self._waiting[deferred]
            if not deferred.called:
                deferred.callback(None)
                return
        self._free += 1

    @property
    def idle(self) -> bool:
        """Is a place free?"""
        return self._free > 0


class _Place:
    __slots__ = ("_limit",)

    def __init__(self, limit: Limit) -> None:
        self._limit = limit

    async def __aenter__(self) -> None:
        await self._limit.enter()

    async def __aexit__(self, *_: object) -> None:
        self._limit.leave()


class FairLimit(Generic[K]):
    """At most `places` at a time inside `async with limit.place(key)`, and `of_one` of the same key.

    Whoever waits for the last place has at most `of_one` of each other key before them.
    """

    def __init__(self, places: int, of_one: int) -> None:
        self._all = Limit(places)
        self._of_one = of_one
        self._limits: dict[K, Limit] = {}
        self._users: Counter[K] = Counter()

    @asynccontextmanager
    async def place(self, key: K) -> AsyncIterator[None]:
        """A place for the length of an `async with` block."""
        limit = self._limits.setdefault(key, Limit(self._of_one))
        self._users[key] += 1
        try:
            async with limit.place(), self._all.place():
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._limits[key]

    @asynccontextmanager
    async def place_within(self, key: K, clock: Clock, seconds: float) -> AsyncIterator[bool]:
        """As `place`, but who waits longer than that goes in without one: then it is False."""
        async with AsyncExitStack() as stack:
            try:
                await timeout(clock, seconds, stack.enter_async_context(self.place(key)))
            except TimedOut:
                yield False
            else:
                yield True

    def __len__(self) -> int:
        """How many keys hold a place or wait for one."""
        return len(self._users)


class KeyedLock:
    """One at a time per key, in order of arrival: `async with lock.hold(room_id)`."""

    def __init__(self) -> None:
        self._limits: dict[Hashable, Limit] = {}

    def hold(self, key: Hashable) -> "_Hold":
        """The key, for the length of an `async with` block."""
        return _Hold(self._limits, key)

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._limits)


class _Hold:
    __slots__ = ("_key", "_limits")

    def __init__(self, limits: dict[Hashable, Limit], key: Hashable) -> None:
        self._limits = limits
        self._key = key

    async def __aenter__(self) -> None:
        limit = self._limits.get(self._key)
        if limit is None:
            limit = self._limits[self._key] = Limit(1)
        await limit.enter()

    async def __aexit__(self, *_: object) -> None:
        limit = self._limits[self._key]
        limit.leave()
        # whoever was next may have run, left and cleared away in that call
        if limit.idle and self._limits.get(self._key) is limit:
            del self._limits[self._key]
