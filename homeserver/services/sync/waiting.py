"""Held syncs, and what wakes them.

Who waits costs a dict entry. A change wakes the waiting members of the rooms it concerns and the
users it names; all that one turn of the reactor brings wakes them once.
"""

from collections.abc import Collection, Iterable, Sequence

from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import Gate
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.streams import Change, Streams

MOST_REMEMBERED = 200_000


class Changed:
    """The newest change of each thing, and the position above which that is known of all."""

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self.floor = 0

    def note(self, name: str, position: int) -> None:
        # the newest goes last, so that the oldest can be forgotten first
        self.positions.pop(name, None)
        self.positions[name] = position
        if len(self.positions) > MOST_REMEMBERED:
            oldest = next(iter(self.positions))
            self.floor = self.positions.pop(oldest)


class Waiting:
    """Follows the streams; syncs ask it what changed, and wait here when nothing did."""

    def __init__(self, streams: Streams, clock: Clock, rooms: Rooms) -> None:
        self._streams = streams
        self._clock = clock
        self._rooms = rooms
        self._room_changes = Changed()
        self._user_changes = Changed()
        self._gates: dict[UserId, Gate] = {}
        self._woken: set[UserId] = set()
        self._is_stopping = False

    def start(self) -> None:
        """Begin to follow; what happened before is not known here."""
        self._room_changes.floor = self._user_changes.floor = self._streams.position
        self._streams.follow(self._on_changes)

    def stop(self) -> None:
        """Answer everybody now."""
        self._is_stopping = True
        self._woken.update(self._gates)
        self._wake()

    def knows(self, since: int) -> bool:
        """Is everything that changed after `since` known here?"""
        return since >= self._room_changes.floor and since >= self._user_changes.floor

    def has_changed(self, user_id: UserId, rooms: Iterable[RoomId], since: int) -> bool:
        """Did anything happen after `since` to the user or in the rooms? Only where it `knows`."""
        if self._user_changes.positions.get(user_id, 0) > since:
            return True
        positions = self._room_changes.positions
        return any(positions.get(room_id, 0) > since for room_id in rooms)

    def changed_rooms(self, rooms: Iterable[RoomId], since: int) -> list[RoomId]:
        """Those of the rooms in which something happened after `since`. Only where it `knows`."""
        positions = self._room_changes.positions
        return [room_id for room_id in rooms if positions.get(room_id, 0) > since]

    async def wait(self, user_id: UserId, seconds: float) -> bool:
        """Until something happens to the user or in their rooms. False: nothing did, or the server stops."""
        if self._is_stopping:
            return False
        gate = self._gates.get(user_id)
        if gate is None:
            gate = self._gates[user_id] = Gate()
        try:
            return await gate.wait_for(self._clock, seconds) and not self._is_stopping
        finally:
            if not gate.waiting and self._gates.get(user_id) is gate:
                del self._gates[user_id]

    def _on_changes(self, position: int, changes: Sequence[Change]) -> None:
        for change in changes:
            for user_id in change.users:
                self._user_changes.note(user_id, position)
                if user_id in self._gates:
                    self._will_wake((user_id,))
            for room_id in change.rooms:
                self._room_changes.note(room_id, position)
                if self._gates:
                    self._will_wake(self._waiting_in(room_id))

    def _waiting_in(self, room_id: RoomId) -> Collection[UserId]:
        room = self._rooms.find(room_id)
        # a room that is not in memory has members all the same: everybody looks for themselves
        return self._gates.keys() if room is None else self._gates.keys() & room.joined_local

    def _will_wake(self, users: Collection[UserId]) -> None:
        if not users:
            return
        if not self._woken:
            self._clock.call_later(0, self._wake)
        self._woken.update(users)

    def _wake(self) -> None:
        woken, self._woken = self._woken, set()
        for user_id in woken:
            gate = self._gates.pop(user_id, None)
            if gate is not None:
                gate.open()
