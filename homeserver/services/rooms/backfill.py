"""History from before what this server has, fetched when somebody reads as far back as that.

https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events
"""

import logging
from typing import Literal

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.remote.errors import RemoteUnreachable
from homeserver.remote.federation import FederationClient
from homeserver.runtime.concurrency import KeyedLock, TimedOut, timeout
from homeserver.runtime.memory import Memory
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving import Gap, Receiving
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.timeline_event import TimelineEvent

logger = logging.getLogger(__name__)

MOST_SERVERS = 4
MOST_GAPS = 5
"""Filled by one request."""
EVENTS_AT_ONCE = 100
MOST_ROUNDS = 10
"""Of so many events, on the way to one long ago."""
DEEPEST = 2**62
WAIT_S = 15.0
"""What a reader waits at most; what arrives later is not looked at."""
FAILURE_REMEMBERED_S, OUTAGE_REMEMBERED_S = 60.0, 5.0
"""How long not to look again for what nobody had, and for what servers may have that were out of reach."""
MOST_FAILURES = 2_000


class RoomBackfill:
    """The port `Older` of `RoomHistory`, on the federation client."""

    def __init__(
        self, ground: RoomGround, events: Events, receiving: Receiving, client: FederationClient
    ) -> None:
        self._server_name = ground.server_name
        self._clock = ground.clock
        self._receiving = receiving
        self._client = client
        self._events = events
        self._filling = KeyedLock()
        self._failures: Memory[tuple[RoomId, EventId], bool] = Memory(ground.clock, MOST_FAILURES)

    async def fill(self, room: Room, *, upto_depth: int, downto_depth: int) -> bool:
        """Fetch history that is missing between the depths; is there anything new?"""
        if not room.joined_local or not await self._receiving.complete(room.room_id, within_s=WAIT_S):
            return False  # what happened before cannot be judged while members are missing
        async with self._filling.hold(room.room_id):
            gaps = await self._gaps(room, upto_depth=upto_depth, downto_depth=downto_depth)
            if not gaps:
                return False
            wanted = [gap.event_id for gap in gaps[:MOST_GAPS]]
            remembered_s = await self._with_help(room, wanted, EVENTS_AT_ONCE)
            for event_id in wanted if remembered_s else ():
                self._failures.keep((room.room_id, event_id), True, remembered_s)
            return not remembered_s

    async def nearest(self, room: Room, ts: int, *, forwards: bool, known_ms: int | None) -> bool:
        """Fetch history back to the event nearest to the time by others' word, or part of the way."""
        if not room.joined_local:
            return False
        if known_ms is not None and not await self._begins_after(room, ts if forwards else known_ms):
            return False
        event_id = await self._nearest(room, ts, forwards=forwards)
        for filled in range(MOST_ROUNDS):
            if event_id is None or await self._events.by_id(event_id) is not None:
                return filled > 0
            if not await self.fill(room, upto_depth=DEEPEST, downto_depth=0):
                return filled > 0
        return True

    async def _begins_after(self, room: Room, ts: int) -> bool:
        """Does history that is missing here end at or after the time? All of it is older than its end."""
        ends = [gap.nid for gap in await self._gaps(room, upto_depth=DEEPEST, downto_depth=0)]
        found = await self._events.by_nids(ends, room.room_id, room.version)
        return any(event.ts >= ts for event in found.values())

    async def _nearest(self, room: Room, ts: int, *, forwards: bool) -> EventId | None:
        direction: Literal["f", "b"] = "f" if forwards else "b"
        for server in self._servers(room):
            try:
                found = await timeout(
                    self._clock, WAIT_S,
                    self._client.timestamp_to_event(server, room.room_id, ts, direction=direction),
                )  # fmt: skip
            except (MatrixError, TimedOut) as error:
                logger.debug("%s does not tell the event nearest to %d: %s", server, ts, error)
                continue
            return found.event_id
        return None

    async def _gaps(self, room: Room, *, upto_depth: int, downto_depth: int) -> list[Gap]:
        gaps = await self._receiving.gaps(room.room_id, upto_depth=upto_depth)
        return [
            gap
            for gap in gaps
            if gap.depth >= downto_depth and self._failures.get((room.room_id, gap.event_id)) is None
        ]

    async def _with_help(self, room: Room, event_ids: list[EventId], limit: int) -> float:
        """Fetch them from somebody: 0, or for how many seconds to remember that there was no help."""
        remembered_s = FAILURE_REMEMBERED_S
        for server in self._servers(room):
            try:
                if await timeout(self._clock, WAIT_S, self._fetch(server, room, event_ids, limit)):
                    return 0.0
            except (MatrixError, TimedOut) as error:
                if isinstance(error, RemoteUnreachable | TimedOut):
                    remembered_s = OUTAGE_REMEMBERED_S
                logger.info("%s does not help with the history of %s: %s", server, room.room_id, error)
        return remembered_s

    async def _fetch(
        self, server: ServerName, room: Room, event_ids: list[EventId], limit: int
    ) -> list[TimelineEvent]:
        pdus = await self._client.backfill(server, room.room_id, event_ids, limit=limit)
        return await self._receiving.backfilled(room.room_id, pdus, origin=server) if pdus else []

    def _servers(self, room: Room) -> list[ServerName]:
        """Whom to ask: those with most members there."""
        others = [server for server in room.other_servers() if server != self._server_name]
        return sorted(others, key=lambda server: (-room.servers[server], server))[:MOST_SERVERS]
