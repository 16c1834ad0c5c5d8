"""A room's move by an event beside others, as rows: in the event's own write."""

from collections.abc import Sequence

from homeserver.protocol.ids import EventId
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.built import Built
from homeserver.services.rooms.room import Move, Room
from homeserver.storage.received_rooms import CurrentEntry
from homeserver.storage.room_stores import RoomStores


class MoveWriting:
    """Beside what `RoomWriter.keep` stores of the event itself."""

    def __init__(self, stores: RoomStores) -> None:
        self._stores = stores

    def state_set(self, txn: Transaction, room: Room, move: Move, parent_nid: int) -> None:
        """The set it moves to, as what it changes of the one before."""
        stores = self._stores
        number = stores.identifiers.state_key_nid
        added = {number(txn, event.key): standing.nid for event, standing in move.changed}
        added |= {number(txn, key): 0 for key in move.removed}
        stores.state.append(
            txn, room.nid, nid=move.state_nid, parent_nid=parent_nid,
            hash_=move.state_hash.to_bytes(16, "little"), added=added,
        )  # fmt: skip

    def move(self, txn: Transaction, room: Room, move: Move, built: Built) -> None:
        """What stands now, and who is what."""
        stores = self._stores
        number = stores.identifiers.state_key_nid
        entries = [
            CurrentEntry(number(txn, event.key), standing.nid, standing.since)
            for event, standing in move.changed
        ]
        stores.received_rooms.put_current(txn, room.nid, entries)
        stores.received_rooms.remove_current(txn, room.nid, [number(txn, key) for key in move.removed])
        stores.received_rooms.put_members(txn, room.nid, built.moved)

    def gap(self, txn: Transaction, room: Room, built: Built, absent: Sequence[EventId]) -> None:
        """The event follows others that are not here."""
        store = self._stores.received_events
        store.note_missing(txn, room.nid, absent, depth=built.event.depth, follower_nid=built.new.nid)
        store.set_last_gap(txn, room.nid, built.position)
