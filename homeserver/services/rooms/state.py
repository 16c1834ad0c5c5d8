"""Reading a room's state: as it is for members, as it was for those who left.

https://spec.matrix.org/latest/client-server-api/#getting-events-for-a-room
"""

from collections.abc import Collection
from typing import Protocol

from homeserver.protocol import event_types
from homeserver.protocol.errors import NotFound
from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.stream_position import PagePosition, StreamPosition
from homeserver.services.rooms.access import NotInRoom
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.room import HISTORY_VISIBILITY, Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.visibility import Visibility
from homeserver.storage.events import Place

PATIENCE_S = 20.0
"""For members that are still being fetched; after that the answer is what is known."""


class Completes(Protocol):
    """Waits until all members of a room are known, or for so long."""

    async def __call__(self, room_id: RoomId, *, within_s: float) -> bool: ...


async def _complete(room_id: RoomId, *, within_s: float) -> bool:
    """Every room is."""
    return True


class RoomState:
    """State and members, for those who may see them."""

    def __init__(self, ground: RoomGround, rooms: Rooms, events: Events, visibility: Visibility) -> None:
        self._database = ground.database
        self._rooms = rooms
        self._events = events
        self._visibility = visibility
        self._store = ground.stores.state
        self._event_store = ground.stores.events
        self._streams = ground.streams
        self.complete: Completes = _complete
        """Set by who fetches the members of rooms that were joined without them."""

    async def all(self, user_id: UserId, room_id: RoomId) -> list[TimelineEvent]:
        """The whole state the user may see. Raises NotInRoom."""
        room, ids = await self._seen(user_id, room_id)
        found = await self._events.by_nids(ids.values(), room_id, room.version)
        return [found[nid] for nid in sorted(ids.values()) if nid in found]

    async def one(self, user_id: UserId, room_id: RoomId, key: StateKey) -> TimelineEvent:
        """Raises NotInRoom, NotFound."""
        room, ids = await self._seen(user_id, room_id)
        nid = ids.get(key)
        found = await self._events.by_nids([nid], room_id, room.version) if nid is not None else {}
        if nid is None or nid not in found:
            raise NotFound(f"The room has no {key[0]} with state key {key[1]!r}")
        return found[nid]

    async def members(
        self, user_id: UserId, room_id: RoomId, *, at: PagePosition | None = None,
        only: Collection[str] = (), without: Collection[str] = (),
    ) -> list[TimelineEvent]:  # fmt: skip
        """Member events, as of `at`, with a membership in `only` and not in `without`."""
        await self.complete(room_id, within_s=PATIENCE_S)
        room, ids = await self._seen(user_id, room_id, at=at)
        nids = [nid for (type_, _), nid in ids.items() if type_ == event_types.MEMBER]
        found = await self._events.by_nids(nids, room_id, room.version)
        return [
            event
            for nid in sorted(nids)
            if (event := found.get(nid)) is not None
            and (not only or event.content.get("membership") in only)
            and event.content.get("membership") not in without
        ]

    async def joined_members(self, user_id: UserId, room_id: RoomId) -> dict[UserId, JsonObject]:
        """What the member events of those joined say. Raises NotInRoom unless the user is one of them."""
        await self.complete(room_id, within_s=PATIENCE_S)
        room = await self._room(user_id, room_id)
        if room.membership(user_id) != "join":
            raise NotInRoom(f"{user_id} is not in {room_id}")
        nids = {user: room.state[event_types.MEMBER, user].nid for user in room.joined}
        found = await self._events.contents(nids.values())
        return {user: found[nid] for user, nid in nids.items() if nid in found}

    async def before(self, room: Room, event: TimelineEvent) -> dict[StateKey, int]:
        """The state just before an event: {key: nid of the event that holds it}."""
        return await self._database.read(self._store.keyed, event.state_nid or 0)

    async def after(self, room: Room, event: TimelineEvent) -> dict[StateKey, int]:
        """The state just after an event."""
        if event.state_key is not None:
            return await self._database.read(self._store.keyed, event.nid)
        return await self.before(room, event)

    async def _seen(
        self, user_id: UserId, room_id: RoomId, *, at: PagePosition | None = None
    ) -> tuple[Room, dict[StateKey, int]]:
        """The newest state the user may see, no newer than `at`."""
        room = await self._room(user_id, room_id)
        latest = None if at is None else await self._position(room, at)
        upto = self._streams.position
        membership = room.membership(user_id)
        if membership == "join" or world_readable(room):
            if latest is None or latest >= room.tip:
                return room, {key: standing.nid for key, standing in room.state_upto(upto).items()}
            return room, await self._at(room, latest)
        ended, stayed = await self._visibility.last_membership(room, user_id)
        if not stayed:
            raise NotInRoom(f"{user_id} is not in {room_id}")
        return room, await self._at(room, ended if latest is None else min(latest, ended))

    async def _position(self, room: Room, at: PagePosition) -> int:
        """The stream position that a page's token stands for."""
        if isinstance(at, StreamPosition):
            return at.position
        place = Place(at.depth, at.event_nid)
        found = await self._database.read(self._event_store.before, room.nid, place, limit=1)
        return found[0].nid if found else 0

    async def _at(self, room: Room, position: int) -> dict[StateKey, int]:
        rows = await self._events.latest(room, upto=position, limit=1)
        return await self.after(room, rows[0]) if rows else {}

    async def _room(self, user_id: UserId, room_id: RoomId) -> Room:
        try:
            return self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            raise NotInRoom(f"{user_id} is not in {room_id}") from None


def world_readable(room: Room) -> bool:
    return room.content_of(*HISTORY_VISIBILITY).get("history_visibility") == "world_readable"
