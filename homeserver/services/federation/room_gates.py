"""May a server send into a room? Unless the room's access control list shuts it out, or we are not there.

https://spec.matrix.org/latest/server-server-api/#server-access-control-lists-acls
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.errors import Forbidden, MatrixError, NotFound
from homeserver.protocol.ids import RoomId, ServerName
from homeserver.protocol.json_values import Json
from homeserver.protocol.room_versions import RoomVersion, room_version
from homeserver.protocol.server_names import ServerAcl
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.services.rooms.rooms import Rooms
from homeserver.storage.staged_events import RoomGate, StagedEventStore

MOST_ACLS = 500
ENTERING_S = 15.0
SERVER_ACL = (event_types.SERVER_ACL, "")


class ShutOut(Forbidden):
    """The room's access control list shuts the server out."""


class NotHere(NotFound):
    """This server is not in the room."""


class RoomGates:
    """Answers from memory where the room is there, else with one small read for all rooms."""

    def __init__(self, database: Database, store: StagedEventStore, rooms: Rooms, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._rooms = rooms
        self._clock = clock
        self._acls: OrderedDict[bytes, ServerAcl] = OrderedDict()

    async def admit(
        self, origin: ServerName, room_ids: Iterable[RoomId]
    ) -> dict[RoomId, RoomVersion | MatrixError]:
        """For each room its version, or why the origin may not send into it.

        A room whose other servers count us in already, while we have not yet heard how it is, is waited for.
        """
        verdicts: dict[RoomId, RoomVersion | MatrixError] = {}
        asked = []
        for room_id in room_ids:
            room = self._rooms.find(room_id)
            entered = self._rooms.entered(room_id)
            if entered is not None and (room is None or not room.joined_local):
                await entered.wait_for(self._clock, ENTERING_S)
                room = self._rooms.find(room_id)
            if room is None:
                asked.append(room_id)
            elif not room.joined_local:
                verdicts[room_id] = NotHere(f"Nobody of this server is in {room_id}")
            else:
                event = room.event(SERVER_ACL)
                raw = None if event is None else event.raw
                verdicts[room_id] = self._verdict(origin, room_id, room.version, raw)
        if asked:
            known = {gate.room_id: gate for gate in await self._database.read(self._store.gates, asked)}
            for room_id in asked:
                verdicts[room_id] = self._stored_verdict(origin, room_id, known.get(room_id))
        return verdicts

    def _stored_verdict(
        self, origin: ServerName, room_id: RoomId, gate: RoomGate | None
    ) -> RoomVersion | MatrixError:
        if gate is None or not gate.is_joined:
            return NotHere(f"Nobody of this server is in {room_id[:300]}")
        return self._verdict(origin, room_id, room_version(gate.version), gate.acl)

    def _verdict(
        self, origin: ServerName, room_id: RoomId, version: RoomVersion, raw: bytes | None
    ) -> RoomVersion | MatrixError:
        if raw is not None and not self._acl(raw).allows(origin):
            return ShutOut(f"{origin} is shut out of {room_id}")
        return version

    def _acl(self, raw: bytes) -> ServerAcl:
        acl = self._acls.get(raw)
        if acl is None:
            content = orjson.loads(raw).get("content")
            known: Mapping[str, Json] = content if isinstance(content, dict) else {}
            acl = self._acls[raw] = ServerAcl(known)
            if len(self._acls) > MOST_ACLS:
                self._acls.popitem(last=False)
        return acl
