"""One sequence of positions for everything that changes, and who wants to know.

Events, receipts, account data, device lists, presence and typing all draw from it, so a sync
token is one number. A position is *in flight* from `draw` until `complete`; readers see up to
`position`, below which nothing is in flight, so nobody can step over a change that is still
being committed.

Positions are reserved in the database in blocks: after a restart the sequence goes on above
everything it ever handed out, the merely remembered kinds (typing, presence) included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Concatenate, ParamSpec, TypeVar

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.runtime.tasks import Tasks
from homeserver.storage.positions import PositionStore

P = ParamSpec("P")
T = TypeVar("T")

BLOCK = 10_000


class PositionsExhausted(MatrixError):
    """The reserved block is used up and the database does not answer."""

    status = 503
    errcode = "M_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Change:
    """What a position stands for: the rooms and users concerned, and the kind of thing."""

    kind: str
    rooms: tuple[RoomId, ...] = ()
    users: tuple[UserId, ...] = ()


Follower = Callable[[int, Sequence[Change]], None]


class Streams:
    """Hands out positions, knows which are complete, tells the followers."""

    def __init__(self, database: Database, store: PositionStore, tasks: Tasks) -> None:
        self._database = database
        self._store = store
        self._tasks = tasks
        self._followers: list[Follower] = []
        self._in_flight: dict[int, None] = {}  # ascending: positions are drawn in order
        self._waiting: list[tuple[int, Change]] = []  # complete, but above one in flight
        self._last = 0
        self._reserved = 0
        self._reserving = False
        self.position = 0

    async def start(self) -> None:
        """Begin above everything that was ever handed out."""
        self._last = await self._database.write(self._store.reserve, BLOCK)
        self._reserved = self._last + BLOCK
        self.position = self._last

    def follow(self, follower: Follower) -> None:
        """Call `follower(position, changes)` on the reactor thread whenever the position advances."""
        self._followers.append(follower)

    def draw(self) -> int:
        """The next position, in flight until `complete`. Raises PositionsExhausted."""
        if self._last + BLOCK // 2 > self._reserved:
            self._reserve_more()
        self._last += 1
        self._in_flight[self._last] = None
        return self._last

    def complete(self, position: int, change: Change | None = None) -> None:
        """The change at `position` is visible, or (None) will never be."""
        del self._in_flight[position]
        if change is not None:
            heappush(self._waiting, (position, change))
        visible = next(iter(self._in_flight)) - 1 if self._in_flight else self._last
        if visible <= self.position:
            return
        self.position = visible
        ready: list[Change] = []
        while self._waiting and self._waiting[0][0] <= visible:
            ready.append(heappop(self._waiting)[1])
        for follower in self._followers:
            follower(visible, ready)

    def announce(self, change: Change) -> int:
        """Draw and complete at once: for changes that live in memory only."""
        position = self.draw()
        self.complete(position, change)
        return position

    async def write(
        self,
        work: Callable[Concatenate[Transaction, int, P], T],
        change: Change | Callable[[T], Change | None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(txn, position, ...)` in a write and announce its change once committed."""
        position = self.draw()
        try:
            result = await self._database.write(work, position, *args, **kwargs)
        except BaseException:
            self.complete(position)
            raise
        self.complete(position, change(result) if callable(change) else change)
        return result

    def _reserve_more(self) -> None:
        if self._last >= self._reserved:
            raise PositionsExhausted("The database does not accept writes: try again in a moment")
        if not self._reserving:
            self._reserving = True
            self._tasks.start("reserve stream positions", self._reserve())

    async def _reserve(self) -> None:
        try:
            start = await self._database.write(self._store.reserve, BLOCK)
            self._reserved = start + BLOCK
        finally:
            self._reserving = False
