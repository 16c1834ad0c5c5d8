"""What other services ask of rooms: small questions, most of them answered from memory."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomId, UserId, domain_of
from homeserver.runtime.clock import Clock
from homeserver.services.rooms.access import joined_room
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.user_rooms import UserRooms


class EventPlace(NamedTuple):
    """Where an event stands: in the order of arrival, and in which thread (None: the main timeline)."""

    nid: int
    thread_root: EventId | None


class EncodedEvent(NamedTuple):
    """An event as clients get it, and its time (ms)."""

    ts: int
    encoded: bytes


class RoomFacts:
    """Answers for receipts, typing notifications, presence and push."""

    def __init__(self, rooms: Rooms, user_rooms: UserRooms, events: Events, clock: Clock) -> None:
        self._clock = clock
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._events = events

    async def joined_nid(self, room_id: RoomId, user_id: UserId) -> int:
        """The room's nid. Raises NotInRoom unless the user is in the room.

        Where not all members are known yet, those of servers that are in the room are believed to be.
        """
        room = self._rooms.find(room_id)
        if room is not None and user_id not in room.members and domain_of(user_id) in room.partial_servers:
            return room.nid
        return (await joined_room(self._rooms, room_id, user_id)).nid

    async def event_place(self, room_id: RoomId, event_id: EventId) -> EventPlace | None:
        """The event's place, None if the room has no such event."""
        event = await self._events.by_id(event_id)
        if event is None or event.room_id != room_id:
            return None
        return EventPlace(event.nid, event.thread_root)

    def joined_now(self, user_id: UserId) -> Sequence[RoomId]:
        """The rooms a user is in, from memory; nothing if they are not in memory."""
        return self._user_rooms.joined_now(user_id)

    async def joined(self, user_id: UserId) -> Sequence[RoomId]:
        """The same, read if need be."""
        return await self._user_rooms.joined(user_id)

    async def joined_by_stranger(self, user_id: UserId) -> Sequence[RoomId]:
        """The rooms a user of another server is in; read each time: nobody keeps theirs true in memory."""
        return await self._user_rooms.joined_by_stranger(user_id)

    def local_members(self, room_id: RoomId) -> Collection[UserId]:
        """The joined members with an account here, from memory; nothing if the room is not in memory."""
        room = self._rooms.find(room_id)
        return () if room is None else room.joined_local

    async def client_events(self, room_id: RoomId, nids: Sequence[int]) -> dict[int, EncodedEvent]:
        """{nid: event} of events of one room; unknown ones are left out."""
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            return {}
        now_ms = self._clock.now_ms()
        found = await self._events.by_nids(nids, room_id, room.version)
        return {nid: EncodedEvent(event.ts, event.client_json(now_ms)) for nid, event in found.items()}
