"""Where queues stand until a transaction of theirs may be sent: so many at a time, the others wait.

Servers that failed the last time stand apart, and so do those that take long to answer: neither shall hold up
those that are well.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from homeserver.protocol.ids import ServerName
from homeserver.runtime.clock import Clock
from homeserver.runtime.memory import Memory
from homeserver.services.federation.destinations import Destinations
from homeserver.services.federation.queue import DestinationQueue

SLOW_S = 15.0
"""More than a connection to a server that does not answer takes."""
SLOW_FOR_S = 600.0
MOST_SLOW = 10_000


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How many transactions are under way at the same time, in each line."""

    well: int = 170
    failed: int = 40
    slow: int = 30


class Line:
    """Queues that wait for a place to send; `serve` is called with one when its turn comes, and then `done`.

    A queue that waits is a few hundred bytes, where a coroutine that waits is ten thousand.
    """

    def __init__(self, places: int, serve: Callable[["Line", DestinationQueue], object]) -> None:
        self._free = places
        self._serve = serve
        self._waiting: deque[DestinationQueue] = deque()
        self._is_serving = False

    def put(self, queue: DestinationQueue, *, is_first: bool = False) -> None:
        """At the end of the line, or at its head."""
        if is_first:
            self._waiting.appendleft(queue)
        else:
            self._waiting.append(queue)
        self._serve_next()

    def done(self) -> None:
        """A place is free again."""
        self._free += 1
        self._serve_next()

    def stop(self) -> None:
        """Serve nobody any more."""
        self._waiting.clear()

    def _serve_next(self) -> None:
        if self._is_serving:
            return  # somebody was done at once: the loop below goes on
        self._is_serving = True
        try:
            while self._free and self._waiting:
                self._free -= 1
                self._serve(self, self._waiting.popleft())
        finally:
            self._is_serving = False


class Lines:
    """`serve` is called with a queue when its turn comes, and then `done` of its line."""

    def __init__(
        self, settings: LineSettings, destinations: Destinations, clock: Clock,
        serve: Callable[[Line, DestinationQueue], object],
    ) -> None:  # fmt: skip
        self._destinations = destinations
        self._clock = clock
        self.well = Line(settings.well, serve)
        self.failed = Line(settings.failed, serve)
        self.slow = Line(settings.slow, serve)
        self._slow: Memory[ServerName, bool] = Memory(clock, MOST_SLOW)

    def put(self, queue: DestinationQueue) -> None:
        """Into the line it belongs in."""
        server = queue.server
        if self._slow.get(server) is not None:
            self.slow.put(queue)
        elif self._destinations.is_in_trouble(server):
            self.failed.put(queue, is_first=self._destinations.has_spoken(server))
        else:
            self.well.put(queue)

    def note_time(self, server: ServerName, began: float) -> None:
        """A transaction to the server, begun then, is done with, well or not."""
        if self._clock.monotonic() - began >= SLOW_S:
            self._slow.keep(server, value=True, seconds=SLOW_FOR_S)
        else:
            self._slow.forget(server)

    def stop(self) -> None:
        """Serve nobody any more."""
        for line in (self.well, self.failed, self.slow):
            line.stop()
