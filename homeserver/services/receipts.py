"""Read receipts and read markers: how far everybody has read.

Receipts are "up to": each replaces the one before it of the same user, type and thread, and only ever moves
forward. https://spec.matrix.org/latest/client-server-api/#receipts
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from homeserver.protocol.errors import InvalidParam, NotFound
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.services.account_data import FULLY_READ, AccountData
from homeserver.services.push.unread import Unread
from homeserver.services.recent_changes import RecentChanges
from homeserver.services.streams import Change, Streams
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.receipts import PRIVATE, Receipt, ReceiptStore

READ = "m.read"
READ_PRIVATE = PRIVATE
MARKERS = (FULLY_READ, READ, READ_PRIVATE)
MAIN = "main"

MOST_IN_ONE_ROOM = 1_000
"""Others' receipts, the newest, that a sync gets of a room it has long not heard of."""


class EventPlace(Protocol):
    """Where an event stands: in the order of arrival, and in which thread (None: the main timeline)."""

    @property
    def nid(self) -> int: ...

    @property
    def thread_root(self) -> EventId | None: ...


class ReadRooms(Protocol):
    """What receipts ask of rooms."""

    async def joined_nid(self, room_id: RoomId, user_id: UserId) -> int:
        """The room's nid. Raises Forbidden unless the user is in the room."""

    async def event_place(self, room_id: RoomId, event_id: EventId) -> EventPlace | None:
        """The event's place, None if the room has no such event."""


class _Kept(NamedTuple):
    """What became of one request: does it concern the room's members, and does it concern the user?"""

    for_room: bool
    for_user: bool


class Receipts:
    """Receipts of local users. What changed lately in each room is in memory."""

    def __init__(
        self,
        database: Database,
        stores: tuple[ReceiptStore, Identifiers],
        *,
        streams: Streams,
        clock: Clock,
        account_data: AccountData,
        unread: Unread,
        rooms: ReadRooms,
    ) -> None:
        self._database = database
        self._store, self._identifiers = stores
        self._streams = streams
        self._clock = clock
        self._account_data = account_data
        self._unread = unread
        self._rooms = rooms
        self._followers: list[Callable[[RoomId, Receipt], object]] = []
        self._recent: RecentChanges[RoomId, Receipt] = RecentChanges(lambda: streams.position)

    def follow(self, follower: Callable[[RoomId, Receipt], object]) -> None:
        """Call `follower(room_id, receipt)` when a public receipt has moved."""
        self._followers.append(follower)

    async def mark(
        self,
        room_id: RoomId,
        user_id: UserId,
        markers: Mapping[str, EventId],
        *,
        thread: str | None = None,
        ts: int | None = None,
    ) -> None:
        """Move markers (of the types in MARKERS) to events, all or none; those further ahead stay.

        `ts`: when (ms) the user read, if that was not now.

        Raises Forbidden outside the room, NotFound for an unknown event, InvalidParam for an unknown type or
        a thread that the event is not in.
        """
        room_nid = await self._rooms.joined_nid(room_id, user_id)
        receipts: list[Receipt] = []
        fully_read: tuple[EventId, int] | None = None
        read_at = self._clock.now_ms() if ts is None else ts
        for type_, event_id in markers.items():
            if type_ not in MARKERS:
                raise InvalidParam(f"A receipt is one of {', '.join(MARKERS)}, not {type_[:100]!r}")
            place = await self._rooms.event_place(room_id, event_id)
            if place is None:
                raise NotFound(f"There is no event {event_id} in {room_id}")
            if type_ == FULLY_READ:
                if thread is not None:
                    raise InvalidParam("m.fully_read takes no thread_id")
                fully_read = event_id, place.nid
            else:
                _check_thread(thread, event_id, place)
                receipts.append(Receipt(user_id, type_, thread, event_id, place.nid, read_at, 0))
        await self._streams.write(
            self._keep,
            lambda kept: _change(room_id, user_id, kept),
            (room_id, room_nid),
            user_id,
            receipts,
            fully_read,
        )

    def last_position(self, room_id: RoomId) -> int:
        """No receipt in the room changed after this position. Memory only."""
        return self._recent.last_position(room_id)

    async def changed_since(self, room_id: RoomId, since: int, viewer: UserId) -> list[JsonObject]:
        """Contents of m.receipt events: what changed after `since` and the viewer may see; usually one.

        There are several only where a user has receipts of the same type in several threads at one event.
        Reads SQL only when memory does not reach back to `since`.
        """
        receipts = self._recent.since(room_id, since)
        if receipts is None:
            return (await self.changed_in([room_id], since, viewer)).get(room_id, [])
        return contents(receipts, viewer) if receipts else []

    async def changed_in(
        self, room_ids: Sequence[RoomId], since: int, viewer: UserId
    ) -> dict[RoomId, list[JsonObject]]:
        """The same for many rooms, with at most one read; rooms without anything are left out."""
        found: dict[RoomId, list[JsonObject]] = {}
        asked = []
        for room_id in room_ids:
            receipts = self._recent.since(room_id, since) if since > 0 else None
            if receipts is None:
                asked.append(room_id)
            elif receipts and (visible := contents(receipts, viewer)):
                found[room_id] = visible
        if asked:
            for room_id, last_position, stored in await self._database.read(self._read, asked, since, viewer):
                self._recent.learn(room_id, last_position)
                if stored:
                    found[room_id] = contents(reversed(stored), viewer)
        return found

    def _keep(
        self,
        txn: Transaction,
        position: int,
        room: tuple[RoomId, int],
        user_id: UserId,
        receipts: Sequence[Receipt],
        fully_read: tuple[EventId, int] | None,
    ) -> _Kept:
        room_id, room_nid = room
        for_room = for_user = False
        for receipt in receipts:
            kept = receipt._replace(position=position)
            if self._store.advance(txn, room_nid, kept):
                txn.after_commit(self._remember, room_id, kept)
                for_room = for_room or receipt.type != PRIVATE
                for_user = True
        if fully_read is not None and self._moves_forward(txn, (room_id, user_id), fully_read[1]):
            content = orjson.dumps({"event_id": fully_read[0]})
            self._account_data.write(txn, position, user_id, entry=(room_id, FULLY_READ, content))
            for_user = True
        return _Kept(for_room, for_user)

    def _moves_forward(self, txn: Transaction, whose: tuple[RoomId, UserId], nid: int) -> bool:
        """Is the event after the one that the user's m.fully_read is at?"""
        room_id, user_id = whose
        content = self._account_data.stored(txn, user_id, room_id, FULLY_READ)
        if content is None:
            return True
        at = self._store.event_nid(txn, orjson.loads(content)["event_id"])
        return at is None or at < nid

    def _remember(self, room_id: RoomId, receipt: Receipt) -> None:
        self._recent.add(room_id, receipt.position, receipt)
        self._unread.note_receipt(room_id, receipt.user_id, receipt.thread, receipt.event_nid)
        if receipt.type != PRIVATE:
            for follower in self._followers:
                follower(room_id, receipt)

    def _read(
        self, txn: Transaction, room_ids: Sequence[RoomId], since: int, viewer: UserId
    ) -> list[tuple[RoomId, int, list[Receipt]]]:
        nids = {
            nid: room_id
            for room_id in room_ids
            if (nid := self._identifiers.room_nid(txn, room_id)) is not None
        }
        last_positions = self._store.last_positions(txn, list(nids))
        found = []
        for nid, room_id in nids.items():
            last = last_positions.get(nid, 0)
            receipts = []
            if last > since:
                receipts = self._store.changed_since(txn, nid, since, viewer=viewer, limit=MOST_IN_ONE_ROOM)
            found.append((room_id, last, receipts))
        return found


def contents(receipts: Iterable[Receipt], viewer: UserId) -> list[JsonObject]:
    """Contents of m.receipt events with those of the receipts, oldest first, that the viewer may see."""
    newest = {
        (receipt.user_id, receipt.type, receipt.thread): receipt
        for receipt in receipts
        if receipt.type != PRIVATE or receipt.user_id == viewer
    }
    found: list[dict[EventId, dict[str, dict[UserId, JsonObject]]]] = []
    for receipt in newest.values():
        entry: JsonObject = {"ts": receipt.ts}
        if receipt.thread is not None:
            entry["thread_id"] = receipt.thread
        for content in found:
            users = content.setdefault(receipt.event_id, {}).setdefault(receipt.type, {})
            if receipt.user_id not in users:
                users[receipt.user_id] = entry
                break
        else:
            found.append({receipt.event_id: {receipt.type: {receipt.user_id: entry}}})
    return list(found)  # type: ignore[arg-type] # nested dicts of text are JSON


def _check_thread(thread: str | None, event_id: EventId, place: EventPlace) -> None:
    if thread is None:
        return
    if not thread:
        raise InvalidParam("thread_id must not be empty")
    is_inside = place.thread_root is None if thread == MAIN else thread in (place.thread_root, event_id)
    if not is_inside:
        raise InvalidParam(f"{event_id} is not in the thread {thread[:300]!r}")


def _change(room_id: RoomId, user_id: UserId, kept: _Kept) -> Change | None:
    if kept.for_room:
        return Change("receipts", rooms=(room_id,), users=(user_id,))
    return Change("receipts", users=(user_id,)) if kept.for_user else None
