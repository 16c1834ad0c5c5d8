"""Aliases and public rooms of other servers.

https://spec.matrix.org/latest/server-server-api/#published-room-directory
"""

from typing import NamedTuple

from homeserver.protocol.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.ids import RoomAlias, RoomId, ServerName, domain_of, is_server_name, parse_room_id
from homeserver.protocol.json_values import JsonObject
from homeserver.remote.errors import RemoteRefused
from homeserver.remote.federation import FederationClient
from homeserver.runtime.clock import Clock
from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.memory import Memory

MOST_SERVERS = 50
MOST_REMEMBERED = 1_000
REMEMBERED_S = 60.0
"""Clients ask before they join. An alias that moves is followed within a minute; one that is not there is
asked for each time."""
NOT_FOUND = 404
_PAGE_FIELDS = ("next_batch", "prev_batch", "total_room_count_estimate")


class Located(NamedTuple):
    """What an alias stands for, and servers that are in that room."""

    room_id: RoomId
    servers: list[ServerName]


class RemoteDirectory:
    """Asks the server whose alias, or whose directory, it is."""

    def __init__(self, client: FederationClient, clock: Clock) -> None:
        self._client = client
        self._known: Memory[RoomAlias, Located] = Memory(clock, MOST_REMEMBERED)
        self._asking: Coalescing[RoomAlias, Located] = Coalescing()

    async def locate(self, alias: RoomAlias) -> Located:
        """Raises NotFound, also when the server cannot be asked."""
        known = self._known.get(alias)
        return known if known is not None else await self._asking.run(alias, lambda: self._ask(alias))

    async def public_rooms(self, server: ServerName, search: JsonObject) -> JsonObject:
        """A page of another server's directory. Raises RemoteError."""
        try:
            answer = await self._client.public_rooms(server, search)
        except RemoteRefused as refusal:
            if not refusal.is_unknown_endpoint:
                raise
            answer = await self._client.public_rooms(server, search, insist_on_get=True)
        return {"chunk": answer["chunk"], **{name: answer[name] for name in _PAGE_FIELDS if name in answer}}

    async def _ask(self, alias: RoomAlias) -> Located:
        server = domain_of(alias)
        try:
            answer = await self._client.directory(server, alias)
            room_id = parse_room_id(answer.room_id)
        except RemoteRefused as refusal:
            if refusal.remote_status == NOT_FOUND:
                raise NotFound(f"{alias} does not exist") from refusal
            raise NotFound(f"The server of {alias} does not tell: {refusal.message}") from refusal
        except InvalidParam as error:
            raise NotFound(f"{server} says that {alias} stands for something that is no room") from error
        except MatrixError as error:
            raise NotFound(f"The server of {alias} cannot be asked: {error.message}") from error
        servers = [ServerName(name) for name in (*answer.servers, server) if is_server_name(name)]
        located = Located(room_id, list(dict.fromkeys(servers))[:MOST_SERVERS])
        self._known.keep(alias, located, REMEMBERED_S)
        return located
