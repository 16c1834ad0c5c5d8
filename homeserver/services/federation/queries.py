"""Small questions of other servers: aliases, profiles, public rooms, spaces, devices and keys, OpenID.

https://spec.matrix.org/latest/server-server-api/#querying-for-information
"""

from collections.abc import Collection
from typing import NamedTuple

from homeserver.protocol.errors import Forbidden, NotFound
from homeserver.protocol.ids import RoomAlias, RoomId, ServerName, UserId, domain_of
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.services.federation.asking import AskingServers
from homeserver.services.profiles import Profiles
from homeserver.services.rooms.aliases import RoomAliases
from homeserver.services.rooms.directory import DirectoryPage, DirectoryQuery, RoomDirectory
from homeserver.services.rooms.remote_directory import Located
from homeserver.services.rooms.restricted_joins import allowed_rooms
from homeserver.services.rooms.room import JOIN_RULES, Room
from homeserver.services.rooms.spaces import OPEN_RULES, Spaces, stripped_child
from homeserver.services.rooms.state import world_readable
from homeserver.services.streams import Streams


class Ports(NamedTuple):
    """The services that know the answers."""

    aliases: RoomAliases
    directory: RoomDirectory
    spaces: Spaces
    profiles: Profiles
    streams: Streams


class Queries:
    """Answers from what local users are told as well, within what the asking server may know."""

    def __init__(self, server_name: ServerName, asking: AskingServers, ports: Ports) -> None:
        self._server_name = server_name
        self._asking = asking
        self._ports = ports

    async def alias(self, alias: RoomAlias) -> Located:
        """The room of an alias of ours, and servers in it. Raises NotFound."""
        if domain_of(alias) != self._server_name:
            raise NotFound(f"{alias} is not an alias of this server")
        return await self._ports.aliases.locate(alias)

    async def profile(self, user_id: UserId, field: str | None) -> JsonObject:
        """The profile of a user of ours, or one field; {} for a field they have not. Raises NotFound."""
        if domain_of(user_id) != self._server_name:
            raise NotFound(f"{user_id} is not a user of this server")
        profile = await self._ports.profiles.profile(user_id)
        return profile if field is None else {name: profile[name] for name in [field] if name in profile}

    async def public_rooms(self, query: DirectoryQuery) -> DirectoryPage:
        return await self._ports.directory.page(query)

    async def hierarchy(self, origin: ServerName, room_id: RoomId, *, suggested_only: bool) -> JsonObject:
        """A space and those of its rooms that this server is in. Raises NotFound."""
        spaces = self._ports.spaces
        room = await spaces.hosted(room_id)
        if room is None or not await self._may_look(origin, room):
            raise NotFound(f"There is no room {room_id} that {origin} may look at")
        events = spaces.children_of(room, suggested_only=suggested_only)
        summary = spaces.summary(room)
        summary["children_state"] = [stripped_child(event) for event in events]
        children: list[Json] = []
        hidden: list[Json] = []
        for event in events:
            child = await spaces.hosted(RoomId(event.state_key or ""))
            if child is None:
                continue
            if await self._may_look(origin, child):
                children.append(self._child_summary(child))
            else:
                hidden.append(child.room_id)
        return {"room": summary, "children": children, "inaccessible_children": hidden}

    async def devices(self, origin: ServerName, user_id: UserId) -> JsonObject:
        """The devices with keys of a user of ours. Raises NotFound."""
        await self.profile(user_id, None)
        return {"user_id": user_id, "stream_id": self._ports.streams.position, "devices": []}

    async def keys(self, user_ids: Collection[str]) -> JsonObject:
        """Device keys by user. Nobody has published any yet."""
        found: JsonObject = {}
        for user_id in user_ids:
            if user_id.endswith(f":{self._server_name}"):
                found[user_id] = {}
        return {"device_keys": found}

    async def claim(self) -> JsonObject:
        """One-time keys. Nobody has uploaded any yet."""
        return {"one_time_keys": {}}

    def _child_summary(self, room: Room) -> JsonObject:
        spaces = self._ports.spaces
        return {
            **spaces.summary(room),
            "children_state": [stripped_child(event) for event in spaces.children_of(room)],
        }

    async def _may_look(self, origin: ServerName, room: Room) -> bool:
        """Is a user of the origin in the room, or could one come in?"""
        try:
            self._asking.check_acl(room, origin)
        except Forbidden:
            return False
        rule = room.content_of(*JOIN_RULES).get("join_rule")
        if world_readable(room) or rule in OPEN_RULES or self._has_user(room, origin):
            return True
        if rule != "restricted":
            return False
        for room_id in allowed_rooms(room):
            other = await self._ports.spaces.hosted(room_id)
            if other is not None and origin in other.other_servers():
                return True
        return False

    def _has_user(self, room: Room, origin: ServerName) -> bool:
        """Somebody joined, or invited?"""
        return origin in room.other_servers() or any(
            member.membership == "invite" and domain_of(user_id) == origin
            for user_id, member in room.members.items()
        )
