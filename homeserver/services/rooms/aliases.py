"""Room aliases, and the directory of public rooms.

https://spec.matrix.org/latest/client-server-api/#room-aliases
"""

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.errors import Forbidden, MatrixError, NotFound
from homeserver.protocol.ids import RoomAlias, RoomId, UserId, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.access import joined_room
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.remote_directory import MOST_SERVERS, Located, RemoteDirectory
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.sending import RoomSending
from homeserver.services.rooms.state import world_readable
from homeserver.storage.rooms import AliasRow


class AliasTaken(MatrixError):
    """409, as the specification has it here; /createRoom has an errcode of its own for it, RoomInUse."""

    status, errcode, default = 409, "M_UNKNOWN", "This room alias is taken"


class RoomAliases:
    """Aliases of this server, and where those of others lead."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, sending: RoomSending, remote: RemoteDirectory
    ) -> None:
        self._remote = remote
        self._database = ground.database
        self._store = ground.stores.rooms
        self._rooms = rooms
        self._sending = sending
        self.server_name = ground.server_name

    async def resolve(self, alias: RoomAlias) -> RoomId:
        """The room of an alias of this server. Raises NotFound."""
        row = await self._database.read(self._store.alias, alias)
        if row is None:
            raise NotFound(f"{alias} does not exist")
        return row.room_id

    async def locate(self, alias: RoomAlias) -> Located:
        """The room of an alias of any server, and servers in it. Raises NotFound."""
        if domain_of(alias) != self.server_name:
            return await self._remote.locate(alias)
        room_id = await self.resolve(alias)
        room = await self._rooms.load(room_id)
        others = sorted(room.servers, key=lambda server: (-room.servers[server], server))
        return Located(room_id, list(dict.fromkeys([self.server_name, *others]))[:MOST_SERVERS])

    async def add(self, user_id: UserId, alias: RoomAlias, room_id: RoomId) -> None:
        """Raises AliasTaken, Forbidden for another server's alias, NotFound for no such room."""
        if domain_of(alias) != self.server_name:
            raise Forbidden(f"{alias} is not an alias of this server")
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            raise NotFound(f"{room_id} is not known here") from None
        if room.membership(user_id) != "join":
            raise Forbidden(f"Only members give {room_id} an alias")
        if not await self._database.write(self._store.add_alias, AliasRow(alias, room_id, user_id)):
            raise AliasTaken(f"{alias} is taken")

    async def remove(self, user_id: UserId, alias: RoomAlias, *, is_admin: bool = False) -> None:
        """By who made it, an admin, or who may set the canonical alias of its room."""
        row = await self._database.read(self._store.alias, alias)
        if row is None:
            raise NotFound(f"{alias} does not exist")
        room = await self._rooms.load(row.room_id)
        levels = PowerLevels(room.events)
        may = room.membership(user_id) == "join" and levels.of_user(user_id) >= levels.to_send(
            event_types.CANONICAL_ALIAS, is_state=True
        )
        if not (may or is_admin or row.creator == user_id):
            raise Forbidden(f"You may not remove {alias}")
        await self._database.write(self._remove, alias)
        await self._leave_canonical(user_id, row)

    async def of_room(self, user_id: UserId, room_id: RoomId) -> list[RoomAlias]:
        """Those of this server, for members or, where anybody may read, for all."""
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            raise Forbidden(f"{user_id} is not in {room_id}") from None
        if not world_readable(room):
            await joined_room(self._rooms, room_id, user_id)
        return await self._database.read(self._store.aliases_of, room_id)

    def _remove(self, txn: Transaction, alias: RoomAlias) -> None:
        self._store.remove_alias(txn, alias)

    async def _leave_canonical(self, user_id: UserId, row: AliasRow) -> None:
        """A removed alias is no longer named by m.room.canonical_alias, if the user may say so."""
        room = await self._rooms.load(row.room_id)
        content = room.content_of(event_types.CANONICAL_ALIAS)
        others = content.get("alt_aliases", [])
        named = content.get("alias") == row.alias or (isinstance(others, list) and row.alias in others)
        if not named or room.membership(user_id) != "join":
            return
        kept: JsonObject = {
            key: value for key, value in content.items() if key not in ("alias", "alt_aliases")
        }
        if content.get("alias") not in (None, row.alias):
            kept["alias"] = content["alias"]
        if isinstance(others, list) and (rest := [alias for alias in others if alias != row.alias]):
            kept["alt_aliases"] = rest
        try:
            await self._sending.set_state(user_id, row.room_id, event_types.CANONICAL_ALIAS, "", kept)
        except Forbidden:
            return
