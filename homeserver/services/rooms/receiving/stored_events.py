"""What is stored of events that others name, and the numbers that new ones get."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from homeserver.protocol.events import BadPdu, Event
from homeserver.protocol.hashes import reference_hash
from homeserver.protocol.ids import EventId
from homeserver.protocol.relations import THREAD, relation_of
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.events import ACCEPTED, OUTLIER, REJECTED, SOFT_FAILED, NewEvent, Relation
from homeserver.storage.received_events import KnownEvent
from homeserver.storage.room_stores import RoomStores

__all__ = ["ACCEPTED", "OUTLIER", "REJECTED", "SOFT_FAILED", "Aside", "Stored", "StoredEvents"]


class Stored(NamedTuple):
    """An event and where it stands."""

    known: KnownEvent
    event: Event

    @property
    def is_rejected(self) -> bool:
        return self.known.status == REJECTED


class Aside(NamedTuple):
    """An event that is kept but does not move its room: rejected, soft failed, an outlier, history.

    `state_hash`: of the state after it, where it is state and the state before it is known.
    """

    event: Event
    nid: int
    status: int
    state_nid: int | None
    state_hash: bytes | None = None
    replaces_nid: int | None = None
    was_outlier: bool = False


class StoredEvents:
    """Reads, and writes beside the room's writer."""

    def __init__(self, database: Database, stores: RoomStores) -> None:
        self._database = database
        self._stores = stores
        self._lowest: int | None = None

    async def known(self, event_ids: Collection[EventId]) -> dict[EventId, KnownEvent]:
        """Where those of the events stand that are stored."""
        if not event_ids:
            return {}
        return await self._database.read(self._stores.received_events.known, list(event_ids))

    async def known_in_room(self, room_nid: int, event_ids: Collection[EventId]) -> dict[EventId, KnownEvent]:
        """The same without events of other rooms: whatever names them here, they mean nothing here."""
        found = await self.known(event_ids)
        return {id_: known for id_, known in found.items() if known.room_nid == room_nid}

    async def clashing(
        self, room_nid: int, version: RoomVersion, events: Collection[Event]
    ) -> dict[EventId, BadPdu]:
        """Those of the events under whose IDs something else is stored, here or in another room.

        Only room versions 1 and 2 let servers choose IDs. What came first stays, and was judged.
        """
        if version.event_id_format is not EventIdFormat.EXPLICIT:
            return {}
        problems: dict[EventId, BadPdu] = {}
        stored = await self.load(version, [event.event_id for event in events])
        for event in events:
            other = stored.get(event.event_id)
            if other is not None and not _is_same(other, room_nid, event):
                problems[event.event_id] = BadPdu(f"{event.event_id} is the ID of another event")
        return problems

    async def standing(self, room_nid: int, event: Event) -> KnownEvent | None:
        """Where the event stands if it is stored. Raises BadPdu when another is, under its ID."""
        for problem in (await self.clashing(room_nid, event.version, [event])).values():
            raise problem
        return (await self.known([event.event_id])).get(event.event_id)

    def known_in(self, txn: Transaction, event_ids: Collection[EventId]) -> dict[EventId, KnownEvent]:
        """The same inside a transaction."""
        return self._stores.received_events.known(txn, list(event_ids))

    async def load(self, version: RoomVersion, event_ids: Collection[EventId]) -> dict[EventId, Stored]:
        """Those of the events that are stored."""
        if not event_ids:
            return {}
        return await self._database.read(self._load, version, list(event_ids))

    def _load(
        self, txn: Transaction, version: RoomVersion, event_ids: Sequence[EventId]
    ) -> dict[EventId, Stored]:
        """Parsed here, on the database's thread: a whole state would hold up the reactor's."""
        return {
            event_id: Stored(stored.known, Event.from_raw(version, stored.raw, event_id))
            for event_id, stored in self._stores.received_events.pdus(txn, event_ids).items()
        }

    async def ready(self) -> None:
        """Before `past_nids` can be asked: something is read when the server has just started."""
        if self._lowest is None:
            lowest = await self._database.read(self._stores.received_events.lowest)
            if self._lowest is None:  # nobody was quicker
                self._lowest = lowest

    def past_nids(self, count: int) -> range:
        """Numbers below all that were given out, ascending: for events and state sets off the live end."""
        assert self._lowest is not None, "Nobody waited for `ready`"
        self._lowest -= count
        return range(self._lowest, self._lowest + count)

    def keep_aside(self, txn: Transaction, room_nid: int, asides: Sequence[Aside]) -> None:
        """Store them."""
        stores = self._stores
        stores.events.insert_many(txn, room_nid, [_row(aside) for aside in asides if not aside.was_outlier])
        for aside in asides:
            self._keep_one(txn, room_nid, aside)

    def _keep_one(self, txn: Transaction, room_nid: int, aside: Aside) -> None:
        """What is beside its row."""
        stores, event = self._stores, aside.event
        if aside.was_outlier:
            stores.received_events.place(
                txn, aside.nid, status=aside.status, state_nid=aside.state_nid,
                replaces_nid=aside.replaces_nid,
            )  # fmt: skip
        relation = relation_of(event.content) if aside.status == ACCEPTED else None
        if relation is not None:
            stores.events.add_relation(
                txn, room_nid, Relation(aside.nid, relation.event_id, relation.rel_type, relation.key)
            )
        if aside.state_hash is not None and event.state_key is not None:
            key_nid = stores.identifiers.state_key_nid(txn, event.key)
            stores.state.append(
                txn, room_nid, nid=aside.nid, parent_nid=aside.state_nid or 0, hash_=aside.state_hash,
                added={key_nid: aside.nid},
            )  # fmt: skip


def _is_same(stored: Stored, room_nid: int, event: Event) -> bool:
    """Redacted or not."""
    if stored.known.room_nid != room_nid:
        return False
    if stored.event.raw == event.raw:
        return True
    return reference_hash(event.version, stored.event.pdu) == reference_hash(event.version, event.pdu)


def _row(aside: Aside) -> NewEvent:
    event = aside.event
    relation = relation_of(event.content)
    thread_root = relation.event_id if relation is not None and relation.rel_type == THREAD else None
    return NewEvent(
        aside.nid, event.event_id, event.type, event.state_key, event.sender, event.depth,
        event.origin_server_ts, aside.state_nid, aside.replaces_nid, aside.status, 0, thread_root, None,
        event.raw,
    )  # fmt: skip
