"""What time is it, and wake me later.

Nothing else in the server asks the operating system for the time, so that tests own it.
"""

import time
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol

from twisted.internet.defer import Deferred

P = ParamSpec("P")


class DelayedCall(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None:
        """Forget it. Raises AlreadyCalled or AlreadyCancelled of twisted.internet.error."""

    def reset(self, secondsFromNow: float) -> None:  # noqa: N803 - Twisted's spelling
        """Count again from now."""

    def active(self) -> bool:
        """Is it still to come?"""


class TimeReactor(Protocol):
    """The reactor as a source of timers."""

    def callLater(  # noqa: N802 - Twisted's spelling
        self, delay: float, callable: Callable[..., Any], /, *args: object, **kwargs: object
    ) -> DelayedCall:
        """Call it on the reactor thread in `delay` seconds."""


class Clock:
    """Wall clock, monotonic clock and timers of one reactor."""

    def __init__(
        self,
        reactor: TimeReactor,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self.monotonic = monotonic
        """Seconds since some fixed moment; never goes back."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, as Matrix counts time. An operator may turn it back."""
        return int(self._wall() * 1000)

    def call_later(
        self, seconds: float, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> DelayedCall:
        """Call `function` on the reactor thread in `seconds`."""
        return self._reactor.callLater(seconds, function, *args, **kwargs)

    async def sleep(self, seconds: float) -> None:
        """Let others work for `seconds`. May be cancelled."""
        deferred: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(seconds, deferred.callback, None)
        await deferred
