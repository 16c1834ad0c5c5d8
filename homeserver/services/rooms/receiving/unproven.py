"""Events of a state, or of a gap, that nobody can verify now: their servers' keys cannot be had.

The room is joined, or goes on, without them. They are kept, and looked at again (`proving`): as soon as keys
of one of these servers become known, which is before anything of theirs is judged; and a few times in the
days after. A server that is silent for longer than that costs a row for each event, and nothing else.
https://spec.matrix.org/latest/server-server-api/#retrieving-server-keys
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.signatures import required_signers
from homeserver.runtime.concurrency import Gate, KeyedLock
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.checking import Checked
from homeserver.services.rooms.receiving.ports import Keys, Unproven
from homeserver.services.rooms.receiving.stored_events import Stored
from homeserver.storage.unproven_events import OF_AUTH_CHAIN, OF_GAP, UnprovenEvent

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 300.0
LONGEST_WAIT_S = 86_400.0
ATTEMPTS = 14
"""Twice as long after each, then daily: the last is after nine days."""
BUSY_WAIT_S = 60.0
PATIENCE_S = 5.0
"""So long live events wait: what is late may take keys of yet another server, which is silent."""
MOST_OF_ROOM = 20_000
MOST_BEFORE_GAPS = 500
"""So many may wait in a room when what lies in a gap is kept as well: these anybody can make up."""
MOST_BYTES_OF_ROOM = 32 * 1024 * 1024

Prove = Callable[[RoomId, AbstractSet[ServerName]], Awaitable[set[ServerName]]]
"""Look again at what takes keys of these servers (of all, where none are named): who is still waited for."""


class _Waiting:
    """A room: whose keys it takes, whose have come, when it is looked at again (by the monotonic clock)."""

    def __init__(self) -> None:
        self.servers: set[ServerName] = set()
        self.learned: set[ServerName] = set()
        self.noted = 0
        """How often something was kept: to see whether more came while it was looked at."""
        self.attempts = 0
        self.due_s = 0.0


class UnprovenEvents:
    """Knows which rooms wait for whom."""

    def __init__(self, ground: RoomGround, keys: Keys) -> None:
        self._database = ground.database
        self._clock = ground.clock
        self._tasks = ground.tasks
        self._store = ground.stores.unproven_events
        self._rooms: dict[RoomId, _Waiting] = {}
        self._by_server: dict[ServerName, set[RoomId]] = {}
        self._turns = KeyedLock()
        self._news = Gate()
        self._is_working = False
        self.prove: Prove = _prove_nothing
        """Set by who can."""
        keys.follow(self._learn)

    async def start(self) -> None:
        """Go on waiting."""
        waiting: dict[RoomId, set[ServerName]] = {}
        for room_id, servers in await self._database.read(self._store.rooms):
            waiting.setdefault(room_id, set()).update(_names(servers))
        for room_id, names in waiting.items():
            self.wait_for(room_id, names)

    async def note(
        self, room: tuple[RoomId, int], checks: Sequence[Checked], kept: Mapping[EventId, Stored],
        told: Iterable[EventId], part: int,
    ) -> None:  # fmt: skip
        """Keep what of a state (`told`: its IDs) and its auth chain could not be verified."""
        events = unproven_of(checks, kept, told, part)
        if events:
            room_id, room_nid = room
            await self._database.write(self.write, room_nid, events)
            self.wait_for(room_id, servers_of(events))

    async def note_gap(self, room: tuple[RoomId, int], events: Collection[Event]) -> None:
        """Keep what lies in a gap and could not be verified: it is news as soon as it can."""
        if events:
            room_id, room_nid = room
            rows = list(_rows(events, [event.event_id for event in events], OF_GAP))
            await self._database.write(self.write, room_nid, rows)
            self.wait_for(room_id, servers_of(rows))

    def write(self, txn: Transaction, room_nid: int, events: Sequence[UnprovenEvent]) -> None:
        """As many of them as the room may have."""
        count, size = self._store.size(txn, room_nid)
        some = []
        for event in events:
            count, size = count + 1, size + len(event.raw)
            most = MOST_BEFORE_GAPS if event.part == OF_GAP else MOST_OF_ROOM
            if count > most or size > MOST_BYTES_OF_ROOM:
                break
            some.append(event)
        self._store.note(txn, room_nid, some)

    def wait_for(self, room_id: RoomId, servers: Collection[ServerName]) -> None:
        """Begin to, or start anew."""
        waiting = self._rooms.setdefault(room_id, _Waiting())
        waiting.attempts = 0
        waiting.noted += 1
        self._set_servers(room_id, waiting, waiting.servers | set(servers))
        self._put_off(waiting)
        if not self._is_working:
            self._is_working = True
            self._tasks.start("verify events of servers that were silent", self._work())

    def has_news_for(self, room_id: RoomId) -> bool:
        """Have keys come that something of the room waits for, and has it not been looked at since?"""
        waiting = self._rooms.get(room_id)
        return waiting is not None and bool(waiting.learned)

    async def before_events(self, room_id: RoomId) -> None:
        """Before events are judged: their servers' keys may be those that were missing."""
        if self.has_news_for(room_id):
            looked = Gate()
            self._tasks.start(f"verify what was late of {room_id}", self._look_at_once(room_id, looked))
            await looked.wait_for(self._clock, PATIENCE_S)

    async def _look_at_once(self, room_id: RoomId, looked: Gate) -> None:
        try:
            await self._look_again(room_id)
        finally:
            looked.open()

    def _learn(self, server: ServerName) -> None:
        rooms = list(self._by_server.get(server, ()))
        for room_id in rooms:
            self._rooms[room_id].learned.add(server)
        if rooms:
            self._news.pulse()

    async def _work(self) -> None:
        try:
            while self._rooms:
                now = self._clock.monotonic()
                due = [room_id for room_id, one in self._rooms.items() if one.learned or one.due_s <= now]
                for room_id in due:
                    await self._look_again(room_id)
                if not due:
                    first_s = min(one.due_s for one in self._rooms.values())
                    await self._news.wait_for(self._clock, max(1.0, min(LONGEST_WAIT_S, first_s - now)))
                    await self._clock.sleep(0)  # whoever learned the keys does not wait for this
        finally:
            self._is_working = False

    async def _look_again(self, room_id: RoomId) -> None:
        async with self._turns.hold(room_id):
            waiting = self._rooms.get(room_id)
            if waiting is None:
                return
            learned, waiting.learned = waiting.learned, set()
            noted = waiting.noted
            try:
                servers = await self.prove(room_id, learned)
            except MatrixError as error:
                logger.info("What could not be verified of %s still waits: %s", room_id, error.message)
                waiting.due_s = self._clock.monotonic() + BUSY_WAIT_S
                return
            except Exception:
                logger.exception("What could not be verified of %s cannot be looked at", room_id)
                self._put_off(waiting)
                return
            if not learned:
                self._put_off(waiting)
            self._set_servers(
                room_id, waiting, servers if waiting.noted == noted else waiting.servers | servers
            )

    def _put_off(self, waiting: _Waiting) -> None:
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**waiting.attempts)
        waiting.attempts += 1
        waiting.due_s = self._clock.monotonic() + wait_s if waiting.attempts < ATTEMPTS else float("inf")

    def _set_servers(self, room_id: RoomId, waiting: _Waiting, servers: set[ServerName]) -> None:
        for server in waiting.servers - servers:
            self._by_server[server].discard(room_id)
            if not self._by_server[server]:
                del self._by_server[server]
        for server in servers - waiting.servers:
            self._by_server.setdefault(server, set()).add(room_id)
        waiting.servers = servers
        if not servers:
            del self._rooms[room_id]


def unproven_of(
    checks: Sequence[Checked], kept: Mapping[EventId, Stored], told: Iterable[EventId], part: int
) -> list[UnprovenEvent]:
    """What is to be kept of a state and its auth chain: what lacks keys, and what rests on that."""
    lacking = {
        event_id: problem.event
        for checked in checks
        for event_id, problem in checked.problems.items()
        if isinstance(problem, Unproven)
    }
    if not lacking:
        return []
    resting = {
        event.event_id: event
        for checked in checks
        for event in checked.events
        if event.event_id not in kept and event.event_id not in lacking
    }
    state = set(told)
    found = [*_rows(lacking.values(), state, part), *_rows(resting.values(), state, part, is_resting=True)]
    return sorted(found, key=lambda event: -event.part)


def servers_of(events: Iterable[UnprovenEvent]) -> set[ServerName]:
    """Whose keys are waited for."""
    return {server for event in events for server in _names(event.servers)}


def _rows(
    events: Iterable[Event], told: Collection[EventId], part: int, *, is_resting: bool = False
) -> Iterable[UnprovenEvent]:
    for event in events:
        servers = "" if is_resting else " ".join(sorted(required_signers(event.version, event.pdu)))
        yield UnprovenEvent(
            event.event_id, servers, part if event.event_id in told else OF_AUTH_CHAIN, event.raw
        )


def _names(servers: str) -> list[ServerName]:
    return [ServerName(server) for server in servers.split()]


async def _prove_nothing(_room_id: RoomId, _servers: AbstractSet[ServerName]) -> set[ServerName]:
    return set()
