"""Events for other servers: single ones, history, gaps, the state before an event, what authorised it.

All of it comes out as the stored signed bytes. It is for servers in the room (or for all, where anybody may
read), and what none of their users could see is redacted.
https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import Forbidden, NotFound
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.runtime.database import Database, Transaction
from homeserver.services.federation.asking import AskingServers
from homeserver.storage.event_graph import EventGraphStore, StoredPdu
from homeserver.storage.events import OUTLIER, REJECTED, EventStore

MOST_BACKFILLED = 100
MOST_MISSING = 20
MOST_NAMED = 50
"""Event IDs in one request."""


class StateBefore(NamedTuple):
    """The state before an event, and the auth chain of that state."""

    state: list[StoredPdu]
    auth_chain: list[StoredPdu]


class Nearest(NamedTuple):
    event_id: EventId
    origin_server_ts: int


class Serving:
    """Answers questions about events."""

    def __init__(
        self, database: Database, events: EventStore, graph: EventGraphStore, asking: AskingServers
    ) -> None:
        self._database = database
        self._events = events
        self._graph = graph
        self._asking = asking

    async def event(self, origin: ServerName, event_id: EventId) -> bytes:
        """One event. Raises NotFound and, for servers that are not in its room, Forbidden."""
        pdu = await self._pdu(event_id)
        room = await self._asking.shared_room(origin, pdu.room_id)
        return (await self._asking.shown(room, origin, [pdu]))[0]

    async def state_before(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> StateBefore:
        """Raises NotFound when the event or the state before it is not known, Forbidden."""
        room = await self._asking.complete_room(origin, room_id)
        if origin not in room.other_servers():
            raise Forbidden(f"{origin} is not in {room_id}")
        pdu = await self._pdu(event_id, room_id)
        if pdu.state_nid is None or pdu.status in (REJECTED, OUTLIER):
            raise NotFound(f"The state before {event_id} is not known here")
        return await self.state_of(pdu)

    async def state_of(self, pdu: StoredPdu) -> StateBefore:
        """The state before an event that is not an outlier."""
        return await self._database.read(self._state_of, pdu.state_nid or 0)

    async def event_auth(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> list[bytes]:
        """The auth chain of an event. Raises NotFound, Forbidden."""
        room = await self._asking.room(origin, room_id)
        if origin not in room.other_servers():
            raise Forbidden(f"{origin} is not in {room_id}")
        pdu = await self._pdu(event_id, room_id)
        return [pdu.raw for pdu in await self._database.read(self._graph.auth_chain, [pdu])]

    async def backfill(
        self, origin: ServerName, room_id: RoomId, event_ids: Collection[EventId], *, limit: int
    ) -> list[bytes]:
        """The events and those before them, newest first. Raises NotFound, Forbidden."""
        room = await self._asking.shared_room(origin, room_id)
        wanted = min(max(limit, 0), MOST_BACKFILLED)
        pdus = await self._database.read(
            self._graph.backfill, room_id, list(dict.fromkeys(event_ids))[:MOST_NAMED], wanted
        )
        return await self._asking.shown(room, origin, pdus)

    async def missing_events(
        self, origin: ServerName, room_id: RoomId, *, earliest: Sequence[EventId], latest: Sequence[EventId],
        limit: int, min_depth: int,
    ) -> list[bytes]:  # fmt: skip
        """Events between what they have and what they were sent, oldest first. Raises NotFound, Forbidden."""
        room = await self._asking.shared_room(origin, room_id)
        pdus = await self._database.read(
            self._graph.missing, room_id, latest[:MOST_NAMED], earliest[:MOST_NAMED],
            limit=min(max(limit, 0), MOST_MISSING), min_depth=min_depth,
        )  # fmt: skip
        return await self._asking.shown(room, origin, pdus)

    async def nearest(self, origin: ServerName, room_id: RoomId, ts: int, *, forwards: bool) -> Nearest:
        """The event nearest to a time. Raises NotFound, Forbidden."""
        room = await self._asking.shared_room(origin, room_id)
        found = await self._database.read(self._events.nearest, room.nid, ts, forwards=forwards)
        if found is None:
            raise NotFound(f"There is no event {'after' if forwards else 'before'} this time")
        return Nearest(*found)

    async def _pdu(self, event_id: EventId, room_id: RoomId | None = None) -> StoredPdu:
        for pdu in await self._database.read(self._graph.by_ids, [event_id]):
            if pdu.status != REJECTED and room_id in (None, pdu.room_id):
                return pdu
        raise NotFound(f"{event_id} is not known here")

    def _state_of(self, txn: Transaction, state_nid: int) -> StateBefore:
        state = self._graph.state_at(txn, state_nid)
        return StateBefore(state, self._graph.auth_chain(txn, state))
