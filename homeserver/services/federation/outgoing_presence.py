"""Presence of local users on its way to other servers.

A change goes to all servers that share a room with the user; a server that comes into a room, or answers
again, is told once who is there. Nothing is stored, and servers forget what they do not hear again: it is
repeated now and then.
https://spec.matrix.org/latest/server-server-api/#presence
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from homeserver.protocol.ids import RoomId, ServerName, UserId, domain_of
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.memory import Memory
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.timing_wheel import TimingWheel
from homeserver.services.federation.sender import FederationSender
from homeserver.services.federation.transaction_body import edu
from homeserver.services.presence.news import Told
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.writer import Built

GATHER_S, GATHER_BACK_S = 1.0, 5.0
REPEAT_S = 25 * 60.0
"""Servers, Synapse and this one among them, believe it for half an hour."""
REPEAT_STEP_S = 60.0
INTRODUCED_S = 600.0
MOST_INTRODUCED = 10_000
MOST_PEOPLE = 500
"""Told of to a server that is new somewhere; of the others it hears when they change."""
PEOPLE_IN_EDU = 50


class PresenceHere(Protocol):
    """`homeserver.services.presence.presence.Presence`."""

    def visible_in(self, room_id: RoomId) -> Collection[UserId]:
        """The members of the room who are not offline."""

    def rooms_of(self, user_id: UserId) -> Collection[RoomId]:
        """The rooms of a local user, from memory."""

    def event(self, user_id: UserId) -> JsonObject:
        """The user's m.presence event, as it is now."""


class OutgoingPresence:
    """Follows presence (`note`) and the room writer (`note_events`)."""

    def __init__(
        self, sender: FederationSender, presence: PresenceHere, rooms: Rooms, *, clock: Clock, tasks: Tasks,
        server_name: ServerName,
    ) -> None:  # fmt: skip
        self._sender = sender
        self._presence = presence
        self._rooms = rooms
        self._clock = clock
        self._tasks = tasks
        self._server_name = server_name
        self._new: dict[ServerName, set[RoomId]] = {}
        self._introduced: Memory[tuple[ServerName, RoomId], bool] = Memory(clock, MOST_INTRODUCED)
        self._told_at: dict[UserId, float] = {}
        self._repeats: TimingWheel[UserId] = TimingWheel(clock, self._repeat, step_s=REPEAT_STEP_S)
        self._back: set[ServerName] = set()
        self._timer: DelayedCall | None = None
        self._back_timer: DelayedCall | None = None

    def stop(self) -> None:
        """Tell nothing more."""
        self._repeats.stop()
        for timer in (self._timer, self._back_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._back_timer = None

    def note(self, told: Told) -> None:
        """These users changed, which members of these rooms may know."""
        for user_id, room_ids in told:
            if domain_of(user_id) == self._server_name:
                self._tasks.start("tell presence elsewhere", self._tell(user_id, list(room_ids)))

    def note_events(self, room: Room, batch: Sequence[Built]) -> None:
        """Events of a room were committed: has another server come in with them?"""
        joined: dict[ServerName, int] = {}
        for built in batch:
            for member in built.members:
                if member.membership == "join" and not member.is_local:
                    server = domain_of(member.user_id)
                    joined[server] = joined.get(server, 0) + 1
        for server, count in joined.items():
            if room.servers[server] <= count and self._introduced.get((server, room.room_id)) is None:
                self._introduced.keep((server, room.room_id), value=True, seconds=INTRODUCED_S)
                self._new.setdefault(server, set()).add(room.room_id)
        if self._new and self._timer is None:
            self._timer = self._clock.call_later(GATHER_S, self._introduce)

    def note_back(self, server: ServerName) -> None:
        """A server that could not be reached can be again: what changed meanwhile it has not heard."""
        self._back.add(server)
        if self._back_timer is None:
            self._back_timer = self._clock.call_later(GATHER_BACK_S, self._welcome_back)

    def _introduce(self) -> None:
        """Tell new servers who of us is there."""
        self._timer = None
        new, self._new = self._new, {}
        self._tell_of({server: self._people_in(room_ids) for server, room_ids in new.items()})

    def _welcome_back(self) -> None:
        """Tell servers that were away of those whom they may have missed."""
        self._back_timer = None
        back, self._back = self._back, set()
        missed: dict[ServerName, dict[UserId, None]] = {}
        for user_id in self._told_at:
            for room_id in self._presence.rooms_of(user_id):
                room = self._rooms.find(room_id)
                for server in back & room.other_servers() if room is not None else ():
                    missed.setdefault(server, {})[user_id] = None
        self._tell_of({server: list(people)[:MOST_PEOPLE] for server, people in missed.items()})

    def _tell_of(self, people_for: Mapping[ServerName, Sequence[UserId]]) -> None:
        encoded: dict[tuple[UserId, ...], bytes] = {}  # once for all servers that are told of the same people
        for server, people in people_for.items():
            for start in range(0, len(people), PEOPLE_IN_EDU):
                some = tuple(people[start : start + PEOPLE_IN_EDU])
                if some not in encoded:
                    encoded[some] = self._edu(some)
                self._sender.put_ephemeral([server], ("m.presence", some), encoded[some])

    def _people_in(self, room_ids: Iterable[RoomId]) -> list[UserId]:
        people: dict[UserId, None] = {}
        for room_id in room_ids:
            for user_id in self._presence.visible_in(room_id):
                if domain_of(user_id) == self._server_name:
                    people[user_id] = None
                    if len(people) == MOST_PEOPLE:
                        return list(people)
        return list(people)

    async def _tell(self, user_id: UserId, room_ids: list[RoomId]) -> None:
        servers: set[ServerName] = set()
        for room in (await self._rooms.load_many(room_ids)).values():
            if room.is_shared:
                servers |= room.other_servers()
        if servers:
            self._sender.put_ephemeral(servers, ("m.presence", user_id), self._edu([user_id]))
            self._told_at[user_id] = now = self._clock.monotonic()
            self._repeats.put(user_id, now + REPEAT_S)

    def _repeat(self, user_id: UserId) -> None:
        """Somebody who has not changed for long: they are still there."""
        due = self._told_at.get(user_id, 0.0) + REPEAT_S
        if due > self._clock.monotonic():
            self._repeats.put(user_id, due)
            return
        self._told_at.pop(user_id, None)
        if self._content(user_id).get("presence") != "offline":
            rooms = list(self._presence.rooms_of(user_id))
            self._tasks.start("tell presence elsewhere", self._tell(user_id, rooms))

    def _edu(self, users: Iterable[UserId]) -> bytes:
        people: list[Json] = [{**self._content(user_id), "user_id": user_id} for user_id in users]
        return edu("m.presence", {"push": people})

    def _content(self, user_id: UserId) -> JsonObject:
        content = self._presence.event(user_id)["content"]
        return content if isinstance(content, dict) else {}
