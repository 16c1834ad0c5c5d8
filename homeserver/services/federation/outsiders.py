"""The end of an invite or a knock, heard by a server that is not in the room: its user is turned away.

The room cannot be asked whether that was allowed. So the word of those counts who could have invited: the
inviter's server, and those that the stripped state named.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import parse_pdu
from homeserver.protocol.hashes import content_hash_matches
from homeserver.protocol.ids import RoomId, ServerName, UserId, domain_of
from homeserver.protocol.json_values import Json
from homeserver.protocol.room_versions import RoomVersion, room_version
from homeserver.runtime.database import Transaction
from homeserver.services.federation.invites import Keys, TakesInvites
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.storage.event_graph import EventGraphStore

logger = logging.getLogger(__name__)

ENDS = ("leave", "ban")


class Receiver(TakesInvites, Protocol):
    """`Receiving`."""


class Outsiders:
    """Hears events of rooms this server is not in."""

    def __init__(
        self,
        ground: RoomGround,
        graph: EventGraphStore,
        user_rooms: UserRooms,
        keys: Keys,
        receiver: Receiver,
    ) -> None:
        self._server_name = ground.server_name
        self._database = ground.database
        self._stores = ground.stores
        self._graph = graph
        self._user_rooms = user_rooms
        self._keys = keys
        self._receiver = receiver

    async def hear(self, origin: ServerName, pdu: Mapping[str, Json]) -> bool:
        """Does the event end an invite or knock of a user of ours? Then it has. Raises nothing."""
        named = _ending(pdu)
        if named is None or not named[1].endswith(f":{self._server_name}"):
            return False
        room_id, user_id = named
        place = (await self._user_rooms.load(user_id)).get(room_id)
        if place is None or place.membership not in ("invite", "knock"):
            return False
        try:
            return await self._end(origin, pdu, room_id, user_id)
        except MatrixError as error:
            logger.info("An event of %s does not turn %s away from %s: %s", origin, user_id, room_id, error)
            return False

    async def _end(
        self, origin: ServerName, pdu: Mapping[str, Json], room_id: RoomId, user_id: UserId
    ) -> bool:
        known = await self._database.read(self._read, room_id, user_id)
        if known is None:
            return False
        version, servers = known
        event = parse_pdu(version, pdu)
        if domain_of(event.sender) != origin or origin not in servers or event.room_id != room_id:
            return False
        if not content_hash_matches(version, pdu):
            return False
        await self._keys.check_event(version, pdu)
        await self._receiver.accept_outside(room_id, version, pdu, stripped=())
        return True

    def _read(
        self, txn: Transaction, room_id: RoomId, user_id: UserId
    ) -> tuple[RoomVersion, set[ServerName]] | None:
        """The room's version, and the servers whose word counts."""
        version = self._graph.version_of(txn, room_id)
        outside = self._stores.received_rooms.outside(txn, room_id, user_id)
        if version is None or outside is None:
            return None
        senders: list[Json] = [entry.get("sender") for entry in orjson.loads(outside.stripped)]
        for row in self._stores.events.by_nids(txn, [outside.event_nid]):
            senders.append(orjson.loads(row.raw).get("sender"))
        servers = {domain_of(sender) for sender in senders if isinstance(sender, str) and ":" in sender}
        if ":" in room_id:
            servers.add(domain_of(room_id))
        return room_version(version), servers


def _ending(pdu: Mapping[str, Json]) -> tuple[RoomId, UserId] | None:
    """The room and user of a membership that ends, if it is one."""
    content, room_id, user_id = pdu.get("content"), pdu.get("room_id"), pdu.get("state_key")
    if pdu.get("type") != event_types.MEMBER or not isinstance(content, dict):
        return None
    if content.get("membership") not in ENDS or not isinstance(room_id, str) or not isinstance(user_id, str):
        return None
    return RoomId(room_id), UserId(user_id)
