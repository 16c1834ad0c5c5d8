"""The present of a room made anew beneath what is in memory: its members became known later than the room."""

from collections.abc import Callable, Sequence

import orjson

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.ids import EventId, RoomId, UserId, domain_of
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.state_sets import StateSets
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.streams import Change
from homeserver.storage.received_rooms import CurrentEntry
from homeserver.storage.room_state import StateIds
from homeserver.storage.rooms import Member

Work = Callable[[Transaction, int], list[EventId]]
"""Given a transaction and the position of the change: the events that stand otherwise now."""


class Rewriting:
    """For who has the room's turn (`Intake.turns`)."""

    def __init__(self, ground: RoomGround, rooms: Rooms, events: Events, sets: StateSets) -> None:
        self._ground = ground
        self._database = ground.database
        self._stores = ground.stores
        self._rooms = rooms
        self._events = events
        self._sets = sets

    async def run(self, room_id: RoomId, work: Work) -> None:
        """Do the work in one transaction, forget what memory had of the room, tell that it changed."""
        position = self._ground.streams.draw()
        change = None
        changed: list[EventId] = []
        try:
            changed = await self._database.write(work, position)
            change = Change("event", (room_id,))
        finally:
            known = self._rooms.find(room_id)
            if known is not None:
                self._rooms.discard(known)
            self._sets.forget()
            try:
                await self._read_again(changed)
            finally:
                self._ground.streams.complete(position, change)

    async def _read_again(self, changed: Sequence[EventId]) -> None:
        try:
            for event_id in changed:
                await self._events.read_again(event_id)
        except MatrixError:  # the database does not answer now; what was done, is
            self._events.forget()

    def make_current(self, txn: Transaction, room_nid: int, state_nid: int, position: int) -> None:
        """In the transaction: the set is what stands now."""
        stores = self._stores
        before = stores.received_rooms.current_ids(txn, room_nid)
        now = stores.state.state_ids(txn, state_nid)
        news = {key: nid for key, nid in now.items() if before.get(key) != nid}
        gone = {key: nid for key, nid in before.items() if key not in now}
        stores.received_rooms.put_current(
            txn, room_nid, [CurrentEntry(key, nid, position) for key, nid in news.items()]
        )
        stores.received_rooms.remove_current(txn, room_nid, gone)
        members = self._members(txn, news, position)
        members += [one._replace(membership="leave") for one in self._members(txn, gone, position)]
        stores.received_rooms.put_members(txn, room_nid, members)

    def _members(self, txn: Transaction, news: StateIds, position: int) -> list[Member]:
        names = self._stores.identifiers.state_keys(txn, news)
        of_members = {nid: names[key][1] for key, nid in news.items() if names[key][0] == MEMBER}
        members = []
        for nid, raw in self._stores.events.raw_by_nids(txn, list(of_members)).items():
            user = UserId(of_members[nid])
            membership = orjson.loads(raw)["content"].get("membership", "leave")
            is_local = domain_of(user) == self._ground.server_name
            members.append(Member(user, str(membership), position if is_local else nid, nid, is_local))
        return members
