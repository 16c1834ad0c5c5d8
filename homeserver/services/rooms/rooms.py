"""The rooms in memory: each loaded once, by whoever needs it first, and dropped when long unused."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import orjson

from homeserver.protocol.errors import NotFound
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.room_versions import room_version
from homeserver.runtime.concurrency import Gate, KeyedLock
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.room import Membership, Room, Standing
from homeserver.storage.received_events import ReceivedEventStore
from homeserver.storage.room_state import RoomStateStore, StateEntry
from homeserver.storage.rooms import Member, RoomRow, RoomStore

logger = logging.getLogger(__name__)


class RoomNotFound(NotFound):
    """No such room here."""


class LoadedRoom(NamedTuple):
    """What the database knows of a room's present."""

    row: RoomRow
    state: list[StateEntry]
    members: list[Member]
    branches: dict[EventId, int]
    has_gaps: bool
    partial_servers: frozenset[ServerName]
    has_late: bool


class Rooms:
    """`find` is memory only; `load` asks the database once."""

    def __init__(
        self,
        database: Database,
        stores: tuple[RoomStore, RoomStateStore, ReceivedEventStore],
        server_name: ServerName,
        *,
        most_members: int = 400_000,
    ) -> None:
        self._database = database
        self._rooms, self._state, self._received = stores
        self._server_name = server_name
        self._most_members = most_members
        self._weights: dict[RoomId, int] = {}
        self._weight = 0
        self._loaded: OrderedDict[RoomId, Room] = OrderedDict()
        self._loading: KeyedLock = KeyedLock()
        self._readings: list[dict[RoomId, bool]] = []  # under way; False: to be read again
        self._entering: dict[RoomId, Gate] = {}

    def find(self, room_id: RoomId) -> Room | None:
        """The room if it is in memory."""
        return self._loaded.get(room_id)

    @contextmanager
    def entering(self, room_id: RoomId) -> Iterator[None]:
        """While another server lets this one in: what others send into the room meanwhile is to wait."""
        gate = self._entering[room_id] = Gate()
        try:
            yield
        finally:
            if self._entering.get(room_id) is gate:
                del self._entering[room_id]
            gate.open()

    def entered(self, room_id: RoomId) -> Gate | None:
        """Opens when this server is in the room, or will not be; None: it is not entering it."""
        return self._entering.get(room_id)

    async def load(self, room_id: RoomId) -> Room:
        """The room; raises RoomNotFound."""
        room = self._loaded.get(room_id)
        if room is not None:
            self._loaded.move_to_end(room_id)
            return room
        async with self._loading.hold(room_id):
            room = self._loaded.get(room_id)
            if room is not None:
                return room
            found = await self._read_all([room_id])
            if not found:
                raise RoomNotFound(f"{room_id} is not known here")
            return self.add(found[0])

    async def load_many(self, room_ids: list[RoomId]) -> dict[RoomId, Room]:
        """The rooms of the list that exist, in one read."""
        rooms = {room_id: room for room_id in room_ids if (room := self._loaded.get(room_id)) is not None}
        missing = [room_id for room_id in room_ids if room_id not in rooms]
        for start in range(0, len(missing), 200):
            for found in await self._read_all(missing[start : start + 200]):
                rooms[found.room_id] = self._loaded.get(found.room_id) or self.add(found)
        return rooms

    def add(self, room: Room) -> Room:
        """Take in a room that was built or created."""
        self._loaded[room.room_id] = room
        self._weights[room.room_id] = weight = 100 + len(room.members)
        self._weight += weight
        while self._weight > self._most_members and len(self._loaded) > 1:
            _, oldest = next(iter(self._loaded.items()))
            if oldest.pending or oldest is room:
                self._loaded.move_to_end(oldest.room_id)
                break
            self.discard(oldest)
        return room

    def discard(self, room: Room) -> None:
        """Forget a room, which the next who needs it loads afresh."""
        if self._loaded.get(room.room_id) is room:
            del self._loaded[room.room_id]
            self._weight -= self._weights.pop(room.room_id)

    def outdate(self, room_id: RoomId) -> None:
        """A write was stored whose room had been forgotten: what was loaded before that is behind."""
        room = self._loaded.get(room_id)
        if room is not None:
            self.discard(room)
        for reading in self._readings:
            if room_id in reading:
                reading[room_id] = False

    async def _read_all(self, room_ids: list[RoomId]) -> list[Room]:
        """What is stored of the rooms, read again as long as they are outdated meanwhile."""
        found: list[Room] = []
        wanted = room_ids
        while wanted:
            reading = dict.fromkeys(wanted, True)
            self._readings.append(reading)
            try:
                loaded = await self._database.read(self._read, wanted)
            finally:
                self._readings.remove(reading)
            found += [room for room in loaded if reading[room.room_id]]
            wanted = [room_id for room_id, is_current in reading.items() if not is_current]
        return found

    def _read(self, txn: Transaction, room_ids: list[RoomId]) -> list[Room]:
        """Built here, too: with thousands of members that takes long enough to keep all others waiting."""
        return [self._build(self._read_one(txn, row)) for row in self._rooms.many(txn, room_ids)]

    def _read_one(self, txn: Transaction, row: RoomRow) -> LoadedRoom:
        branches: dict[EventId, int] = {}
        heads = orjson.loads(row.heads)
        if len(heads) > 1:
            known = self._received.known(txn, heads)
            branches = {head: known[head].state_after or 0 for head in heads}
        has_gaps, has_late, partial = False, False, None
        if row.last_gap:
            has_late = self._received.has_late(txn, row.nid)
            has_gaps = self._received.has_missing(txn, row.nid)
            partial = self._received.partial_servers(txn, row.nid)
        servers = frozenset(orjson.loads(partial)) if partial is not None else frozenset[ServerName]()
        state, members = self._state.current(txn, row.nid), self._rooms.members(txn, row.nid)
        return LoadedRoom(row, state, members, branches, has_gaps, servers, has_late)

    def _build(self, loaded: LoadedRoom) -> Room:
        row = loaded.row
        version = room_version(row.version)
        room = Room(row.room_id, version, row.nid)
        room.is_public = bool(row.is_public)
        room.heads = tuple(EventId(head) for head in orjson.loads(row.heads))
        room.depth, room.tip, room.state_nid = row.depth, row.tip, row.state_nid
        room.state_hash = int.from_bytes(row.state_hash, "little")
        room.recent_from = row.tip
        room.branches, room.last_gap, room.has_gaps = loaded.branches, row.last_gap, loaded.has_gaps
        room.partial_servers, room.has_late = loaded.partial_servers, loaded.has_late
        for entry in loaded.state:
            standing = Standing(entry.nid, entry.event_id, entry.since or entry.nid)
            if standing.since != entry.nid:
                room.resolved_at = max(room.resolved_at, standing.since)
            room.state[entry.type, entry.state_key] = standing
            if entry.raw is not None:
                try:
                    room.remember(Event.from_raw(version, entry.raw, entry.event_id))
                except (ValueError, TypeError, KeyError, IndexError):  # can be read, but not written to
                    logger.error("The state of %s is damaged: %s", row.room_id, entry.event_id)
        for member in loaded.members:
            room.set_member(
                member.user_id, Membership(member.membership, member.since), local=bool(member.is_local)
            )
        return room
