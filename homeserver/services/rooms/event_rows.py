"""Events of a room as rows: each with all that is stored beside it, and where the room stands after them."""

from collections.abc import Callable, Sequence

from homeserver.protocol.ids import RoomId
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.built import Advance, Built
from homeserver.services.rooms.outbox import Outbox
from homeserver.services.rooms.proposals import StaleRoom
from homeserver.services.rooms.redactions import Redactions
from homeserver.services.rooms.room import Room
from homeserver.storage.events import Relation
from homeserver.storage.room_stores import RoomStores


class EventRows:
    """Written within the transaction of whoever made the events happen."""

    def __init__(self, stores: RoomStores, outbox: Outbox) -> None:
        self._stores = stores
        self._outbox = outbox
        self._redactions = Redactions(stores)

    def store(
        self, txn: Transaction, room_nid: int, batch: Sequence[Built], advance: Advance,
        also: Callable[[Transaction], None] | None = None,
    ) -> None:  # fmt: skip
        """One write of the room. Raises StaleRoom when it is not where the batch expects it."""
        stores = self._stores
        if not stores.rooms.advance(
            txn, room_nid, expected_tip=advance.expected_tip, tip=advance.tip, heads=advance.heads,
            depth=advance.depth, state_nid=advance.state_nid,
        ):  # fmt: skip
            raise StaleRoom
        for built in batch:
            self.store_one(txn, room_nid, built)
        if also is not None:
            also(txn)

    def store_new(
        self, txn: Transaction, room: Room, batch: Sequence[Built], advance: Advance,
        also: Callable[[Transaction, RoomId], None],
    ) -> int:  # fmt: skip
        room_nid = self._stores.rooms.create(txn, room.room_id, room.version.version)
        self.store(txn, room_nid, batch, advance)
        also(txn, room.room_id)
        return room_nid

    def store_one(self, txn: Transaction, room_nid: int, built: Built) -> None:
        """One event with all that is stored beside it."""
        stores, new = self._stores, built.new
        key_nid = None
        if new.state_key is not None:
            key_nid = stores.identifiers.state_key_nid(txn, (new.type, new.state_key))
            stores.state.append(
                txn, room_nid, nid=new.nid, parent_nid=new.state_nid or 0, hash_=built.state_hash,
                added={key_nid: new.nid},
            )  # fmt: skip
            if built.is_current:
                stores.state.put_current(txn, room_nid, key_nid, new.nid)
        if built.placed_at:
            stores.received_events.place(
                txn, new.nid, status=new.status, state_nid=new.state_nid or 0, replaces_nid=new.replaces_nid
            )
        else:
            stores.events.insert(txn, room_nid, new, key_nid)
        if built.member is not None:
            stores.rooms.put_member(txn, room_nid, built.member)
        if built.relation is not None:
            relation = built.relation
            stores.events.add_relation(
                txn, room_nid, Relation(new.nid, relation.event_id, relation.rel_type, relation.key)
            )
        if built.redacts is not None:
            assert built.levels is not None
            self._redactions.redact(txn, new.nid, built.event, built.redacts, built.levels)
        if built.outgoing is not None:
            self._outbox.store(txn, room_nid, built.position, built.outgoing, event_nid=new.nid)
        if built.outcome is not None:
            stores.push_actions.add(txn, room_nid, new.nid, new.thread_root, built.outcome)
