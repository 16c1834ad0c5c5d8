"""Stored events by id, through a cache bounded in bytes.

An event never changes but for a redaction, after which it is read again. One whose row was damaged is as good
as unknown: it is logged once, and left out of whatever it would have been in.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from itertools import islice

import orjson

from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.relations import aggregated_with
from homeserver.protocol.room_versions import RoomVersion, room_version
from homeserver.runtime.cache import ByteCache
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.timeline_event import MalformedEvent, TimelineEvent, from_row
from homeserver.storage.events import EventRow, EventStore

MOST_STATE_RECALLED = 200
"""Of a room's state so much is read ahead of need."""

MOST_CHANGED = 10_000
MOST_MALFORMED = 1_000
MOST_PARENTS = 10_000

logger = logging.getLogger(__name__)


class Events:
    """Reads events; `find` and `note` never wait."""

    def __init__(self, database: Database, store: EventStore, *, cache_bytes: int = 48 * 1024 * 1024) -> None:
        self._database = database
        self._store = store
        self._by_nid: ByteCache[int, TimelineEvent] = ByteCache(cache_bytes)
        self._nids: dict[EventId, int] = {}  # of those in the cache, and a few that have left it
        self._changed: dict[int, None] = {}  # changed lately: a row may have been read before that
        self._malformed: set[EventId] = set()  # which the log knows of
        self._parents: dict[EventId, None] = {}  # of events seen lately: a row may have been read before that

    def find(self, nid: int) -> TimelineEvent | None:
        """From memory only."""
        return self._by_nid.get(nid)

    def find_id(self, event_id: EventId) -> TimelineEvent | None:
        """From memory only."""
        nid = self._nids.get(event_id)
        return None if nid is None else self._by_nid.get(nid)

    def note(self, event: TimelineEvent) -> None:
        """Remember an event that is now stored, and that its parent has children."""
        parent_id = aggregated_with(event.content)
        if parent_id is not None:
            self._note_parent(parent_id)
        if event.event_id in self._parents:
            event.has_children = True
        self._by_nid.put(event.nid, event, event.size)
        if len(self._nids) > 2 * len(self._by_nid) + 1000:
            self._nids = {id_: nid for id_, nid in self._nids.items() if nid in self._by_nid}
        self._nids[event.event_id] = event.nid

    def _note_parent(self, event_id: EventId) -> None:
        self._parents[event_id] = None
        while len(self._parents) > MOST_PARENTS:
            del self._parents[next(iter(self._parents))]
        parent = self.find_id(event_id)
        if parent is not None:
            parent.has_children = True

    async def read_again(self, event_id: EventId) -> list[TimelineEvent]:
        """An event that was redacted, and events that show its content, as they are now."""
        found = []
        for located in await self._database.read(self._store.with_successors, event_id):
            self._changed[located.row.nid] = None
            event = self._read(located.row, located.room_id, room_version(located.version))
            if event is not None:
                self.note(event)
                found.append(event)
        while len(self._changed) > MOST_CHANGED:
            del self._changed[next(iter(self._changed))]
        return found

    def forget(self) -> None:
        """Everything: what changed could not be read again."""
        self._by_nid.clear()

    def decode(self, rows: Iterable[EventRow], room_id: RoomId, version: RoomVersion) -> list[TimelineEvent]:
        """The events of one room's rows, from memory where they are known; malformed ones are left out."""
        events = [self._decode(row, room_id, version) for row in rows]
        return [event for event in events if event is not None]

    def _decode(self, row: EventRow, room_id: RoomId, version: RoomVersion) -> TimelineEvent | None:
        known = self._by_nid.get(row.nid)
        if known is not None:
            known.has_children = known.has_children or bool(row.has_children)
            return known
        event = self._read(row, room_id, version)
        if event is not None and row.nid not in self._changed:
            self.note(event)
        return event

    def _read(self, row: EventRow, room_id: RoomId, version: RoomVersion) -> TimelineEvent | None:
        try:
            return from_row(row, room_id, version)
        except MalformedEvent:
            self.note_malformed(row.event_id)
            return None

    def note_malformed(self, event_id: EventId) -> None:
        """Tell the operator, once."""
        if event_id not in self._malformed and len(self._malformed) < MOST_MALFORMED:
            self._malformed.add(event_id)
            logger.error("Event %s is damaged in the database, and left out: restore a backup", event_id)

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
            rows = await self._database.read(self._store.by_nids, missing)
            found |= {event.nid: event for event in self.decode(rows, room_id, version)}
        return found

    async def contents(self, nids: Collection[int]) -> dict[int, JsonObject]:
        """What events say, for lists of thousands, which memory need not hold; unknown nids are left out."""
        return await self._database.read(self._contents, list(nids))

    def _contents(self, txn: Transaction, nids: Sequence[int]) -> dict[int, JsonObject]:
        contents: dict[int, JsonObject] = {}
        for nid, raw in self._store.raw_by_nids(txn, nids).items():
            try:
                contents[nid] = orjson.loads(raw)["content"]
            except (ValueError, KeyError, TypeError):
                logger.error(
                    "Event number %d is damaged in the database, and left out: restore a backup", nid
                )
        return contents

    async def latest(self, room: Room, *, upto: int, limit: int, after: int = 0) -> list[TimelineEvent]:
        """The room's newest events with `after` < position <= `upto`, newest first."""
        found: list[TimelineEvent] = []
        while True:
            wanted = limit - len(found)
            rows = await self._database.read(
                self._store.latest, room.nid, after=after, upto=upto, limit=wanted
            )
            found += self.decode(rows, room.room_id, room.version)
            if len(rows) < wanted or len(found) >= limit:
                return found
            upto = rows[-1].nid - 1  # some were malformed: further back for others

    async def recall(self, rooms: Sequence[Room], count: int) -> None:
        """Fill `recent` of rooms with their newest events, and read their state into the cache."""
        tips = {room.room_id: room.tip for room in rooms}
        wanted = [
            (room, [standing.nid for standing in islice(room.state.values(), MOST_STATE_RECALLED)])
            for room in rooms
        ]
        found = await self._database.read(self._read_rooms, wanted, count)
        for (room, _), (newest, state) in zip(wanted, found, strict=True):
            self.decode(state, room.room_id, room.version)
            events = self.decode(newest, room.room_id, room.version)
            if not room.recent and room.tip == tips[room.room_id] and not room.pending:
                room.recent.extend(reversed(events))
                room.recent_from = newest[-1].nid - 1 if len(newest) == count else 0

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
                event = self._decode(located.row, located.room_id, room_version(located.version))
                if event is not None:
                    found[event.event_id] = event
        return found

    async def signed(self, event_ids: Sequence[EventId]) -> dict[EventId, Event]:
        """{event id: the event as signed}, for the authorisation rules.

        Unknown and malformed ones are left out: who cannot do without one must look for it.
        """
        rows = await self._database.read(self._store.by_ids, list(event_ids)) if event_ids else []
        found: dict[EventId, Event] = {}
        for located in rows:
            event_id = located.row.event_id
            try:
                found[event_id] = Event.from_raw(room_version(located.version), located.row.raw, event_id)
            except (ValueError, TypeError, KeyError, IndexError):
                self.note_malformed(event_id)
        return found
