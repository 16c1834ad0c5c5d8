"""Who is typing where. Only in memory: nobody is typing when the server starts.

https://spec.matrix.org/latest/client-server-api/#typing-notifications
"""

from collections.abc import Callable
from typing import Protocol

from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.services.streams import Change, Streams

DEFAULT_TIMEOUT_MS = 30_000
LONGEST_TIMEOUT_MS = 120_000
QUIET_ROOMS_IN_MEMORY = 10_000


class _Room:
    __slots__ = ("position", "typists")

    def __init__(self) -> None:
        self.position = 0
        self.typists: dict[UserId, DelayedCall] = {}


class TypingRooms(Protocol):
    """What typing asks of rooms."""

    async def joined_nid(self, room_id: RoomId, user_id: UserId) -> int:
        """Raises Forbidden unless the user is in the room."""


class TypingNotifications:
    """`position` and `users` are for sync."""

    def __init__(self, streams: Streams, clock: Clock, rooms: TypingRooms) -> None:
        self._streams = streams
        self._clock = clock
        self._is_in = rooms.joined_nid
        self._followers: list[Callable[[RoomId, UserId, bool], object]] = []
        self._rooms: dict[RoomId, _Room] = {}  # the room that began to be typed in last comes last

    def follow(self, follower: Callable[[RoomId, UserId, bool], object]) -> None:
        """Call `follower(room_id, user_id, is_typing)` when a user begins, says that they go on, or stops."""
        self._followers.append(follower)

    async def start(self, room_id: RoomId, user_id: UserId, *, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> None:
        """The user types, for `timeout_ms` unless told again. Raises Forbidden outside the room."""
        await self._is_in(room_id, user_id)
        seconds = max(0, min(timeout_ms, LONGEST_TIMEOUT_MS)) / 1000
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = _Room()
            self._forget_quiet_rooms()
        self._tell(room_id, user_id, True)
        timer = room.typists.get(user_id)
        if timer is not None:
            timer.reset(seconds)
            return
        room.typists[user_id] = self._clock.call_later(seconds, self.stop, room_id, user_id)
        self._announce(room_id, room)

    def stop(self, room_id: RoomId, user_id: UserId) -> None:
        """The user no longer types: they said so, sent, left, or their time is over."""
        room = self._rooms.get(room_id)
        timer = room.typists.pop(user_id, None) if room is not None else None
        if room is None or timer is None:
            return
        if timer.active():
            timer.cancel()
        self._tell(room_id, user_id, False)
        self._announce(room_id, room)

    def position(self, room_id: RoomId) -> int:
        """When the users typing in the room last changed; 0: nobody has typed there lately."""
        room = self._rooms.get(room_id)
        return room.position if room is not None else 0

    def users(self, room_id: RoomId) -> list[UserId]:
        """Who is typing, in the order in which they began."""
        room = self._rooms.get(room_id)
        return list(room.typists) if room is not None else []

    def stop_all(self) -> None:
        """Forget the timers; the server stops."""
        for room in self._rooms.values():
            for timer in room.typists.values():
                timer.cancel()
        self._rooms.clear()

    def _tell(self, room_id: RoomId, user_id: UserId, is_typing: bool) -> None:
        for follower in self._followers:
            follower(room_id, user_id, is_typing)

    def _announce(self, room_id: RoomId, room: _Room) -> None:
        position = self._streams.draw()
        room.position = position
        self._streams.complete(position, Change("typing", rooms=(room_id,)))

    def _forget_quiet_rooms(self) -> None:
        if len(self._rooms) > 2 * QUIET_ROOMS_IN_MEMORY:
            quiet = [room_id for room_id, room in self._rooms.items() if not room.typists]
            for room_id in quiet[:QUIET_ROOMS_IN_MEMORY]:
                del self._rooms[room_id]
