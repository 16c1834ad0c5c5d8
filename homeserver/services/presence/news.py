"""Telling changes of presence to the rooms they concern.

Changes gather for half a second and become one position, noted in the logs of the rooms concerned. So a sync
looks at its own rooms only, and a user without company wakes nobody.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.services.recent_changes import RecentChanges
from homeserver.services.streams import Change, Streams

FLUSH_EVERY_S = 0.5
LONGEST_FLUSH_S = 10.0
WAKES_PER_S = 2_000
"""So many syncs may be woken for presence each second; beyond that, changes gather for longer."""
MOST_IN_FLUSH = 500


class SharedRooms(Protocol):
    """What presence asks of rooms."""

    def joined_now(self, user_id: UserId) -> Collection[RoomId]:
        """The rooms a user is in, from memory; nothing if they are not in memory."""

    async def joined(self, user_id: UserId) -> Collection[RoomId]:
        """The same, read if need be."""

    def local_members(self, room_id: RoomId) -> Collection[UserId]:
        """The joined members with an account here, from memory; nothing if the room is not in memory."""

    async def joined_by_stranger(self, user_id: UserId) -> Collection[RoomId]:
        """The rooms a user of another server is in."""


Told = Sequence[tuple[UserId, Collection[RoomId]]]
Follower = Callable[[Told], object]


class PresenceNews:
    """`prepare(users)` is awaited before these users' changes are told."""

    def __init__(
        self,
        streams: Streams,
        clock: Clock,
        tasks: Tasks,
        rooms: SharedRooms,
        prepare: Callable[[Sequence[UserId]], Awaitable[None]],
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._tasks = tasks
        self._rooms = rooms
        self._prepare = prepare
        self._recent: RecentChanges[RoomId, UserId] = RecentChanges(lambda: streams.position, per_key=512)
        self._followers: list[Follower] = []
        self._gathered: dict[UserId, set[RoomId] | None] = {}  # to be told in these rooms; None: in all
        self._is_flushing = False
        self._flush_at = 0.0

    def tell(self, user_id: UserId, room_id: RoomId | None = None) -> None:
        """The user changed: tell all their rooms, or the one room they just joined."""
        if room_id is None:
            self._gathered[user_id] = None
        else:
            rooms = self._gathered.setdefault(user_id, set())
            if rooms is not None:
                rooms.add(room_id)
        self._flush_soon()

    def follow(self, follower: Follower) -> None:
        """Call `follower(told)` with the users whose changes are told, and the rooms they concern."""
        self._followers.append(follower)

    def last_position(self, room_id: RoomId) -> int:
        """Nobody in the room changed after this position."""
        return self._recent.last_position(room_id)

    def since(self, room_id: RoomId, position: int) -> list[UserId] | None:
        """Who changed after `position`, each once, the newest last; None: memory does not reach back."""
        changed = self._recent.since(room_id, position)
        if changed is not None and len(changed) > 1:
            return list(dict.fromkeys(reversed(changed)))[::-1]
        return changed

    def _flush_soon(self) -> None:
        if self._is_flushing:
            return
        self._is_flushing = True
        wait_s = self._flush_at - self._clock.monotonic()
        if wait_s > 0:
            self._clock.call_later(wait_s, self._start_flush)
        else:
            self._start_flush()

    def _start_flush(self) -> None:
        self._tasks.start("tell presence", self._flush())

    async def _flush(self) -> None:
        """Tell what has gathered, as one position."""
        users = list(self._gathered)[:MOST_IN_FLUSH]
        taken = {user_id: self._gathered.pop(user_id) for user_id in users}
        pause_s = LONGEST_FLUSH_S
        try:
            await self._prepare(users)
            told = [(user_id, await self._concerned(user_id, rooms)) for user_id, rooms in taken.items()]
            pause_s = min(LONGEST_FLUSH_S, max(FLUSH_EVERY_S, self._announce(told) / WAKES_PER_S))
        except BaseException:
            self._gathered = {**taken, **self._gathered}
            raise
        finally:
            self._flush_at = self._clock.monotonic() + pause_s
            self._is_flushing = False
            if self._gathered:
                self._flush_soon()

    async def _concerned(self, user_id: UserId, only: set[RoomId] | None) -> Collection[RoomId]:
        if only is not None:
            return only
        return self._rooms.joined_now(user_id) or await self._rooms.joined(user_id)

    def _announce(self, told: Told) -> int:
        """Note the changes in the rooms' logs; how many syncs may wake.

        A room that is not in memory is left out: nobody who syncs is in it.
        """
        for follower in self._followers:
            follower(told)
        heard: list[tuple[RoomId, UserId]] = []
        company: dict[RoomId, int] = {}
        for user_id, rooms in told:
            for room_id in rooms:
                members = self._rooms.local_members(room_id)
                if len(members) > (user_id in members):  # somebody else is here to see it
                    company[room_id] = len(members)
                    heard.append((room_id, user_id))
        if not company:
            return 0
        position = self._streams.draw()
        for room_id, user_id in heard:
            self._recent.add(room_id, position, user_id)
        self._streams.complete(position, Change("presence", rooms=tuple(company)))
        return sum(company.values())
