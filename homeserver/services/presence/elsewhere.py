"""Who is online on other servers, as these say. In memory: forgotten after a while without news.

https://spec.matrix.org/latest/server-server-api/#presence
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.presence import PresenceState
from homeserver.runtime.clock import Clock
from homeserver.runtime.timing_wheel import TimingWheel

BELIEVED_S = 30 * 60.0
MOST_PEOPLE = 50_000


class RoomsOfStrangers(Protocol):
    """What this asks of rooms."""

    async def joined_by_stranger(self, user_id: UserId) -> Collection[RoomId]:
        """The rooms a user of another server is in."""


class Tell(Protocol):
    """How news get to rooms."""

    def __call__(self, user_id: UserId, room_id: RoomId) -> None: ...


@dataclass(slots=True)
class _Person:
    state: PresenceState
    last_active: float  # on the monotonic clock
    status_msg: str | None
    is_currently_active: bool
    rooms: Collection[RoomId]
    believed_until: float


class PresenceElsewhere:
    """Told by transactions of other servers; asked by `Presence`."""

    def __init__(self, clock: Clock, rooms: RoomsOfStrangers, tell: Tell) -> None:
        self._clock = clock
        self._rooms = rooms
        self._tell = tell
        self._people: dict[UserId, _Person] = {}
        self._by_room: dict[RoomId, dict[UserId, None]] = {}
        self._wheel: TimingWheel[UserId] = TimingWheel(clock, self._doubt, step_s=30.0)

    def stop(self) -> None:
        """Look at the clock no more."""
        self._wheel.stop()

    async def hear(
        self,
        user_id: UserId,
        state: PresenceState,
        *,
        last_active_ago_ms: int,
        status_msg: str | None,
        is_currently_active: bool,
    ) -> None:
        """A server says this of one of its users."""
        if state is PresenceState.OFFLINE:
            self._forget(user_id)
            return
        if user_id not in self._people and len(self._people) >= MOST_PEOPLE:
            return
        rooms = await self._rooms.joined_by_stranger(user_id)
        self._forget(user_id, tell=False)
        if not rooms:
            return
        now = self._clock.monotonic()
        self._people[user_id] = _Person(
            state, now - last_active_ago_ms / 1000, status_msg, is_currently_active, rooms, now + BELIEVED_S
        )
        for room_id in rooms:
            self._by_room.setdefault(room_id, {})[user_id] = None
            self._tell(user_id, room_id)
        self._wheel.put(user_id, now + BELIEVED_S)

    def note_member(self, user_id: UserId, room_id: RoomId, *, is_joined: bool) -> None:
        """Somebody came into a room or went: who is in it sees them now, or sees them no more."""
        person = self._people.get(user_id)
        if person is None or is_joined == (room_id in person.rooms):
            return
        if is_joined:
            person.rooms = [*person.rooms, room_id]
            self._by_room.setdefault(room_id, {})[user_id] = None
            self._tell(user_id, room_id)
        else:
            person.rooms = [each for each in person.rooms if each != room_id]
            self._remove(user_id, room_id)

    def visible_in(self, room_id: RoomId) -> Collection[UserId]:
        """Members of the room who are not offline."""
        return self._by_room.get(room_id, {}).keys()

    def rooms_of(self, user_id: UserId) -> Collection[RoomId]:
        """Where somebody who is not offline is."""
        person = self._people.get(user_id)
        return () if person is None else person.rooms

    def content(self, user_id: UserId) -> JsonObject | None:
        """Of the m.presence event; None for somebody unknown or offline."""
        person = self._people.get(user_id)
        if person is None:
            return None
        ago_ms = int((self._clock.monotonic() - person.last_active) * 1000)
        content: JsonObject = {"presence": person.state.value, "last_active_ago": max(0, ago_ms)}
        if person.state is PresenceState.ONLINE:
            content["currently_active"] = person.is_currently_active
        if person.status_msg is not None:
            content["status_msg"] = person.status_msg
        return content

    def _forget(self, user_id: UserId, *, tell: bool = True) -> None:
        person = self._people.pop(user_id, None)
        if person is None:
            return
        for room_id in person.rooms:
            self._remove(user_id, room_id)
            if tell:
                self._tell(user_id, room_id)

    def _remove(self, user_id: UserId, room_id: RoomId) -> None:
        people = self._by_room[room_id]
        people.pop(user_id, None)
        if not people:
            del self._by_room[room_id]

    def _doubt(self, user_id: UserId) -> None:
        person = self._people.get(user_id)
        if person is None:
            return
        if person.believed_until > self._clock.monotonic():
            self._wheel.put(user_id, person.believed_until)
        else:
            self._forget(user_id)
