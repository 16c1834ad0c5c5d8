"""Which events have to reach other servers, and which servers: noted in the event's own write.

An event goes to the servers that had members in the room before it, so that who is removed hears of it. The
rows are all that the sender needs: what a crash keeps it from sending is found again.
https://spec.matrix.org/latest/server-server-api/#pdus
"""

from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.protocol.events import Event
from homeserver.protocol.ids import ServerName, UserId, domain_of
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.room import Room
from homeserver.storage.outgoing import OutgoingStore


class Outgoing(NamedTuple):
    """An event's way out. `servers` are ours to reach; of those, `besides` has the event already."""

    servers: frozenset[ServerName]
    besides: ServerName | None
    is_recorded: bool
    """The room's outgoing event before this one had the same servers."""


class Outbox:
    """`address` when the event is built, before it is applied to the room; `store` in its write."""

    def __init__(self, store: OutgoingStore, server_name: ServerName) -> None:
        self._store = store
        self._server_name = server_name

    def address(self, room: Room, event: Event, *, besides: ServerName | None = None) -> Outgoing | None:
        """To whom the event goes; None: to nobody. Ask for memberships, others where `room.is_shared`.

        `besides`: the server that made the event and asked us to pass it on.
        """
        servers = room.other_servers()
        target = self._uninvited(room, event)
        if target is not None:
            servers |= {target}
        if not servers or servers == {besides}:
            return None
        is_recorded = room.told_servers == servers
        room.told_servers = servers
        return Outgoing(servers, besides, is_recorded)

    def store(
        self, txn: Transaction, room_nid: int, position: int, outgoing: Outgoing, *, event_nid: int
    ) -> None:
        """Note it, in the write that stores the event. `position`: its nid, unless it was an outlier."""
        if not outgoing.is_recorded:
            self._store.address(txn, room_nid, position, outgoing.servers)
        outlier_nid = None if event_nid == position else event_nid
        self._store.add(txn, room_nid, position, outgoing.besides, outlier_nid)

    def _uninvited(self, room: Room, event: Event) -> ServerName | None:
        """The server of a user whose invite or knock ends here: it may have nobody in the room."""
        if event.type != event_types.MEMBER or event.state_key is None:
            return None
        if room.membership(UserId(event.state_key)) not in ("invite", "knock"):
            return None
        server = domain_of(event.state_key)
        return server if server != self._server_name else None
