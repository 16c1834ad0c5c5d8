"""Stored events by id, through a cache bounded in bytes.

An event never changes but for a redaction, after which it is read again.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.room_versions import RoomVersion, room_version
from homeserver.runtime.cache import ByteCache
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.timeline_event import TimelineEvent, from_row
from homeserver.storage.events import EventRow, EventStore

MOST_STATE_RECALLED = 200
"""Of a room's state so much is read ahead of need."""

MOST_CHANGED = 10_000


class Events:
    """Reads events; `find` and `note` never wait."""

    def __init__(self, database: Database, store: EventStore, *, cache_bytes: int = 48 * 1024 * 1024) -> None:
        self._database = database
        self._store = store
        self._by_nid: ByteCache[int, TimelineEvent] = ByteCache(cache_bytes)
        self._nids: dict[EventId, int] = {}  # of those in the cache, and a few that have left it
        self._changed: dict[int, None] = {}  # changed lately: a row may have been read before that

    def find(self, nid: int) -> TimelineEvent | None:
        """From memory only."""
        return self._by_nid.get(nid)

    def find_id(self, event_id: EventId) -> TimelineEvent | None:
        """From memory only."""
        nid = self._nids.get(event_id)
        return None if nid is None else self._by_nid.get(nid)

    def note(self, event: TimelineEvent) -> None:
        """Remember an event that is now stored."""
        self._by_nid.put(event.nid, event, event.size)
        if len(self._nids) > 2 * len(self._by_nid) + 1000:
            self._nids = {id_: nid for id_, nid in self._nids.items() if nid in self._by_nid}
        self._nids[event.event_id] = event.nid

    async def read_again(self, event_id: EventId) -> list[TimelineEvent]:
        """An event that was redacted, and events that show its content, as they are now."""
        found = []
        for located in await self._database.read(self._store.with_successors, event_id):
            event = from_row(located.row, located.room_id, room_version(located.version))
            self.note(event)
            self._changed[event.nid] = None
            found.append(event)
        while len(self._changed) > MOST_CHANGED:
            del self._changed[next(iter(self._changed))]
        return found

    def decode(self, row: EventRow, room_id: RoomId, version: RoomVersion) -> TimelineEvent:
        """The event of a row, from memory where it is known."""
        known = self._by_nid.get(row.nid)
        if known is not None:
            return known
        event = from_row(row, room_id, version)
        if row.nid not in self._changed:
            self.note(event)
        return event

    async def by_nids(
        self, nids: Iterable[int], room_id: RoomId, version: RoomVersion
    ) -> dict[int, TimelineEvent]:
        """{nid: event} of events of one room; unknown nids are left out."""
        found: dict[int, TimelineEvent] = {}
        missing: list[int] = []
        for nid in nids:
            event = self._by_nid.get(nid)
            if event is None:
                missing.append(nid)
            else:
                found[nid] = event
        if missing:
            for row in await self._database.read(self._store.by_nids, missing):
                found[row.nid] = self.decode(row, room_id, version)
        return found

    async def latest(self, room: Room, *, upto: int, limit: int, after: int = 0) -> list[TimelineEvent]:
        """The room's newest events with `after` < position <= `upto`, newest first."""
        rows = await self._database.read(self._store.latest, room.nid, after=after, upto=upto, limit=limit)
        return [self.decode(row, room.room_id, room.version) for row in rows]

    async def recall(self, rooms: Sequence[Room], count: int) -> None:
        """Fill `recent` of rooms with their newest events, and read their state into the cache."""
        tips = {room.room_id: room.tip for room in rooms}
        wanted = [
            (room, [standing.nid for standing in islice(room.state.values(), MOST_STATE_RECALLED)])
            for room in rooms
        ]
        found = await self._database.read(self._read_rooms, wanted, count)
        for (room, _), (newest, state) in zip(wanted, found, strict=True):
            for row in state:
                self.decode(row, room.room_id, room.version)
            events = [self.decode(row, room.room_id, room.version) for row in newest]
            if not room.recent and room.tip == tips[room.room_id] and not room.pending:
                room.recent.extend(reversed(events))
                room.recent_from = events[-1].nid - 1 if len(events) == count else 0

    def _read_rooms(
        self, txn: Transaction, wanted: Sequence[tuple[Room, Sequence[int]]], count: int
    ) -> list[tuple[list[EventRow], list[EventRow]]]:
        found = []
        for room, nids in wanted:
            newest = self._store.latest(txn, room.nid, after=0, upto=room.tip, limit=count)
            have = {row.nid for row in newest}
            missing = [nid for nid in nids if nid not in have and nid not in self._by_nid]
            found.append((newest, self._store.by_nids(txn, missing)))
        return found

    async def by_id(self, event_id: EventId) -> TimelineEvent | None:
        known = self.find_id(event_id)
        return known if known is not None else (await self.by_ids([event_id])).get(event_id)

    async def by_ids(self, event_ids: Sequence[EventId]) -> dict[EventId, TimelineEvent]:
        """{event id: event}; unknown ids are left out."""
        found = {id_: event for id_ in event_ids if (event := self.find_id(id_)) is not None}
        missing = [id_ for id_ in event_ids if id_ not in found]
        if missing:
            for located in await self._database.read(self._store.by_ids, missing):
                event = self.decode(located.row, located.room_id, room_version(located.version))
                found[event.event_id] = event
        return found

    async def signed(self, event_ids: Sequence[EventId]) -> dict[EventId, Event]:
        """{event id: the event as signed}, for the authorisation rules; unknown ids are left out."""
        rows = await self._database.read(self._store.by_ids, list(event_ids)) if event_ids else []
        return {
            located.row.event_id: Event.from_raw(
                room_version(located.version), located.row.raw, located.row.event_id
            )
            for located in rows
        }
