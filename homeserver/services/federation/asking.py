"""What another server that asks us something may have: which rooms, and which events as they are.

A room is open to the servers that have members in it, unless its access control list says otherwise. An event
that none of their users could see is handed out redacted: it keeps its place in history, not its content.
https://spec.matrix.org/latest/server-server-api/#server-access-control-lists-acls
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from homeserver.protocol import canonical_json, event_types
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.errors import Forbidden, NotFound
from homeserver.protocol.hashes import encode_for
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.server_names import ServerAcl
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.state import world_readable
from homeserver.storage.event_graph import EventGraphStore, StoredPdu

SERVER_ACL = (event_types.SERVER_ACL, "")
MOST_ACLS = 500
_FOR_WHOEVER_IS_IN = ("world_readable", "shared", "")


class Refused(Forbidden):
    """The room shuts the asking server out."""


class Standing(NamedTuple):
    """How the asking server stood in the state before one event."""

    visibility: str
    memberships: frozenset[str]


class AskingServers:
    """Decides for (origin, room) and (origin, event)."""

    def __init__(self, database: Database, graph: EventGraphStore, rooms: Rooms) -> None:
        self._database = database
        self._graph = graph
        self._rooms = rooms
        self._acls: OrderedDict[EventId, ServerAcl] = OrderedDict()

    async def room(self, origin: ServerName, room_id: RoomId) -> Room:
        """A room that this server is in and whose ACL lets the origin in. Raises NotFound, Refused."""
        try:
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            raise NotFound(f"{room_id} is not known here") from None
        if not room.joined_local:
            raise NotFound(f"Nobody of this server is in {room_id}")
        self.check_acl(room, origin)
        return room

    async def complete_room(self, origin: ServerName, room_id: RoomId) -> Room:
        """As `room`, whose members are all known here. Raises NotFound while they are being fetched."""
        room = await self.room(origin, room_id)
        if room.partial_servers:
            raise NotFound(f"This server does not know all members of {room_id} yet: ask another")
        return room

    async def shared_room(self, origin: ServerName, room_id: RoomId) -> Room:
        """As `room`, which the origin is in too, or which anybody may read. Raises Forbidden."""
        room = await self.room(origin, room_id)
        if origin not in room.other_servers() and not world_readable(room):
            raise Forbidden(f"{origin} is not in {room_id}")
        return room

    def check_acl(self, room: Room, origin: ServerName) -> None:
        """Raises Refused."""
        event = room.event(SERVER_ACL)
        if event is None:
            return
        acl = self._acls.get(event.event_id)
        if acl is None:
            acl = self._acls[event.event_id] = ServerAcl(event.content)
            if len(self._acls) > MOST_ACLS:
                self._acls.popitem(last=False)
        if not acl.allows(origin):
            raise Refused(f"{origin} may not take part in {room.room_id}: its access control list says so")

    async def shown(self, room: Room, origin: ServerName, pdus: Sequence[StoredPdu]) -> list[bytes]:
        """The events as the origin may have them, in the same order."""
        hidden = await self._database.read(self._hidden, room, origin, list(pdus)) if pdus else set()
        return [_emptied(room.version, pdu.raw) if pdu.nid in hidden else pdu.raw for pdu in pdus]

    def _hidden(
        self, txn: Transaction, room: Room, origin: ServerName, pdus: Sequence[StoredPdu]
    ) -> set[int]:
        """The nids of those that the origin may not see."""
        is_in = origin in room.other_servers()
        settings = self._graph.visibility_settings(txn, room.nid)
        if is_in and all(value in _FOR_WHOEVER_IS_IN for _, value in settings.values()):
            return set()
        members = self._graph.memberships_of_server(txn, room.nid, origin)
        keys = {key for key, _ in (*settings.values(), *members.values())}
        standings: dict[int | None, Standing] = {None: Standing("joined", frozenset())}
        hidden = set()
        for pdu in pdus:
            standing = standings.get(pdu.state_nid)
            if standing is None and pdu.state_nid is not None:
                ids = self._graph.pick_state(txn, pdu.state_nid, keys)
                standing = standings[pdu.state_nid] = _standing(ids, settings, members)
            assert standing is not None
            if not (_may_see(standing, in_room=is_in) or _is_about(pdu.raw, origin)):
                hidden.add(pdu.nid)
        return hidden


def servers_in(room: Room) -> list[ServerName]:
    """Those with joined members, the ones with most members first."""
    return sorted(room.servers, key=lambda server: (-room.servers[server], server))


def _standing(
    ids: Mapping[int, int], settings: Mapping[int, tuple[int, str]], members: Mapping[int, tuple[int, str]]
) -> Standing:
    holders = set(ids.values())
    visibility = next((value for nid, (_, value) in settings.items() if nid in holders), "shared")
    return Standing(
        visibility, frozenset(membership for nid, (_, membership) in members.items() if nid in holders)
    )


def _may_see(standing: Standing, *, in_room: bool) -> bool:
    visibility, memberships = standing
    if visibility == "world_readable" or "join" in memberships:
        return True
    if visibility == "invited":
        return "invite" in memberships
    return visibility != "joined" and in_room


def _is_about(raw: bytes, origin: ServerName) -> bool:
    """Did the origin's own users send it, or is it about their membership?"""
    pdu = orjson.loads(raw)
    named = [pdu["sender"], pdu.get("state_key") if pdu["type"] == event_types.MEMBER else None]
    return any(isinstance(user_id, str) and user_id.partition(":")[2] == origin for user_id in named)


def _emptied(version: RoomVersion, raw: bytes) -> bytes:
    pdu = canonical_json.decode_loosely(raw)
    assert isinstance(pdu, dict)
    try:
        return encode_for(redact(version, pdu), strict=version.strict_canonical_json)
    except NotCanonical:
        return encode_for(redact(version, pdu), strict=False)
