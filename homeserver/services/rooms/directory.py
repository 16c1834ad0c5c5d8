"""The directory of public rooms of this server.

https://spec.matrix.org/latest/client-server-api/#published-room-directory
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.room import CREATE, Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.state import world_readable
from homeserver.storage.rooms import RoomStore

MOST_PER_PAGE = 500


class DirectoryPage(NamedTuple):
    """Rooms, most members first, and tokens to go on or back; `total` is before paging."""

    chunk: list[JsonObject]
    next_batch: str | None
    prev_batch: str | None
    total: int


@dataclass(frozen=True, slots=True)
class DirectoryQuery:
    """`room_types`: None for any; a None within it stands for rooms without a type."""

    limit: int | None = None
    since: str | None = None
    search: str | None = None
    room_types: tuple[str | None, ...] | None = None


class RoomDirectory:
    """What the world may know of rooms that chose to be found."""

    def __init__(self, database: Database, store: RoomStore, rooms: Rooms) -> None:
        self._database = database
        self._store = store
        self._rooms = rooms

    async def visibility(self, room_id: RoomId) -> str:
        """Either public or private. Raises NotFound."""
        row = await self._database.read(self._store.get, room_id)
        if row is None:
            raise NotFound(f"{room_id} is not known here")
        return "public" if row.is_public else "private"

    async def set_visibility(
        self, user_id: UserId, room_id: RoomId, *, public: bool, is_admin: bool = False
    ) -> None:
        """By who may set the room's canonical alias, or an admin."""
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            raise NotFound(f"{room_id} is not known here") from None
        levels = PowerLevels(room.events)
        needed = levels.to_send(event_types.CANONICAL_ALIAS, is_state=True)
        if not is_admin and (room.membership(user_id) != "join" or levels.of_user(user_id) < needed):
            raise Forbidden("You may not change whether this room is in the directory")
        await self._database.write(self._set_public, room_id, public)
        room.is_public = public

    async def page(self, query: DirectoryQuery) -> DirectoryPage:
        """Raises InvalidParam for a token that is not ours."""
        rooms = await self._rooms.load_many(await self._database.read(self._store.public))
        listed = [room for room in rooms.values() if room.joined and _matches(room, query)]
        listed.sort(key=lambda room: (-len(room.joined), room.room_id))
        start = _read_token(query.since)
        limit = MOST_PER_PAGE if query.limit is None else max(1, min(query.limit, MOST_PER_PAGE))
        chunk = [self.summary(room) for room in listed[start : start + limit]]
        return DirectoryPage(
            chunk,
            _token(start + limit) if start + limit < len(listed) else None,
            _token(max(0, start - limit)) if start > 0 else None,
            len(listed),
        )

    def summary(self, room: Room) -> JsonObject:
        """What the directory, space hierarchies and room summaries show of a room."""
        found: JsonObject = {
            "room_id": room.room_id,
            "num_joined_members": len(room.joined),
            "world_readable": world_readable(room),
            "guest_can_join": room.content_of(event_types.GUEST_ACCESS).get("guest_access") == "can_join",
        }
        for field, type_, key in _SUMMARY_FIELDS:
            value = room.content_of(type_).get(key)
            if isinstance(value, str) and value:
                found[field] = value
        return found

    def _set_public(self, txn: Transaction, room_id: RoomId, public: bool) -> None:
        self._store.set_public(txn, room_id, public=public)


_SUMMARY_FIELDS = (
    ("name", event_types.NAME, "name"),
    ("topic", event_types.TOPIC, "topic"),
    ("avatar_url", event_types.AVATAR, "url"),
    ("canonical_alias", event_types.CANONICAL_ALIAS, "alias"),
    ("join_rule", event_types.JOIN_RULES, "join_rule"),
    ("room_type", event_types.CREATE, "type"),
)


def _matches(room: Room, query: DirectoryQuery) -> bool:
    if query.room_types is not None and room.content_of(*CREATE).get("type") not in query.room_types:
        return False
    if not query.search:
        return True
    term = query.search.casefold()
    texts = (
        room.content_of(type_).get(key) for field, type_, key in _SUMMARY_FIELDS[:4] if field != "avatar_url"
    )
    return any(isinstance(text, str) and term in text.casefold() for text in texts)


def _token(start: int) -> str:
    return urlsafe_b64encode(f"d{start}".encode()).decode().rstrip("=")


def _read_token(token: str | None) -> int:
    if not token:
        return 0
    try:
        text = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
        if text[:1] == "d" and text[1:].isdigit() and len(text) < 12:
            return int(text[1:])
    except ValueError:
        pass
    raise InvalidParam("This token does not come from the directory of this server")
