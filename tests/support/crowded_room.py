"""A room of many members of several servers, and forks of it, taken in as other servers send them.

    crowd = CrowdedRoom(server, room_version("11"), members=10_000)
    crowd.receive(*crowd.fork(0), *crowd.fork(1))

`trunk` is where every fork begins. Nobody of the server itself may close forks once its creator has left.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.event_types import MEMBER, POWER_LEVELS
from homeserver.protocol.events import Draft, Event, StateKey, build
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signatures import SigningKey, sign_json
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from tests.support.people import Person
from tests.support.running import Running, result
from tests.support.whole_server import WholeServer

SERVERS = 8
BATCH = 50
DAY_MS = 86_400_000


class Neighbour:
    """A server that answers for its keys and takes whatever it is sent."""

    def __init__(self, server: WholeServer, number: int) -> None:
        self.name = ServerName(f"n{number}.example")
        self.key = SigningKey("crowd", bytes([number + 1]) * 32)
        self._time = server.time
        server.network.add(self.name, self._answer)

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        if not request.path.startswith("/_matrix/key/"):
            return HttpAnswer(200, {}, b'{"pdus":{}}')
        document = {
            "server_name": self.name,
            "valid_until_ts": self._time.now_ms() + DAY_MS,
            "verify_keys": {self.key.key_id: {"key": self.key.verify_key.to_base64()}},
            "old_verify_keys": {},
        }
        return HttpAnswer(200, {}, orjson.dumps(sign_json(document, self.name, self.key)))


@dataclass
class Branch:
    """What somebody knows who makes the next event."""

    state: dict[StateKey, EventId]
    heads: tuple[EventId, ...]
    depth: int
    power: Mapping[str, Any] = field(default_factory=dict)

    def copy(self) -> "Branch":
        return replace(self, state=dict(self.state))


class CrowdedRoom:
    """`members` of other servers, the first `admins` of whom may ban and change the room."""

    def __init__(self, server: WholeServer, version: RoomVersion, *, members: int, admins: int = 60) -> None:
        self.server = server
        self.version = version
        self.neighbours = {one.name: one for one in (Neighbour(server, n) for n in range(SERVERS))}
        self.members = [UserId(f"@member{n}:n{n % SERVERS}.example") for n in range(members)]
        self._keys = {name: neighbour.key for name, neighbour in self.neighbours.items()}
        self._numbers = count()
        self.alice, self.carol = server.register("alice"), server.register("carol")
        self.room = RoomId(self._create(self.alice, admins))
        self.carol.join(self.room)
        self.trunk = self._here()
        self._before: dict[int, Branch] = {}
        self._fill()

    def _create(self, alice: Person, admins: int) -> str:
        users = dict.fromkeys(self.members[:admins], 50)
        own = {} if self.version.room_id_is_create_hash else {alice.user_id: 100}
        power = {"users": {**users, **own}, "events": {event_types.DUMMY: 100}}
        return alice.create_room(
            preset="public_chat", room_version=self.version.version, power_level_content_override=power
        )

    def _fill(self) -> None:
        for start in range(0, len(self.members), BATCH):
            self._before[start] = self.trunk.copy()
            some = self.members[start : start + BATCH]
            self.receive(
                *(self.made(self.trunk, MEMBER, user, {"membership": "join"}, key=user) for user in some)
            )

    def _here(self) -> Branch:
        room = result(self.server.services.rooms.rooms.load(self.room))
        state = {key: standing.event_id for key, standing in room.state.items()}
        return Branch(state, room.heads, room.depth, room.content_of(POWER_LEVELS))

    def leave_it_open(self) -> None:
        """From now on nobody of the server may close forks: its creator leaves."""
        self.alice.leave(self.room)
        self.trunk = self._here()

    def made(
        self,
        branch: Branch,
        type_: str,
        sender: UserId,
        content: Mapping[str, Any],
        *,
        key: str | None = None,
    ) -> Event:
        """The next event of the branch."""
        keys = auth_keys(self.version, type=type_, sender=sender, state_key=key, content=content)
        branch.depth += 1
        draft = Draft(
            type=type_, sender=sender, content=content, state_key=key, room_id=self.room,
            prev_event_ids=branch.heads, depth=branch.depth, origin_server_ts=self._now(),
            auth_event_ids=tuple(branch.state[one] for one in keys if one in branch.state),
        )  # fmt: skip
        server = domain_of(sender)
        event = build(draft, self.version, server, self._keys[server])
        branch.heads = (event.event_id,)
        if key is not None:
            branch.state[event.key] = event.event_id
        if type_ == POWER_LEVELS:
            branch.power = content
        return event

    def _now(self) -> int:
        return self.server.time.now_ms() + next(self._numbers)

    def fork(self, number: int) -> list[Event]:
        """An admin of some server changes power levels twice, bans somebody and names a topic.

        So the branches differ in their state, and in what that rests on.
        """
        branch, admin = self.trunk.copy(), self.members[number]
        events = []
        for level in (10, 20):
            users = {**branch.power["users"], self.members[-number - 1]: level}
            content = {**branch.power, "users": users}
            events.append(self.made(branch, POWER_LEVELS, admin, content, key=""))
        banned = self.members[-number - 101]
        events.append(self.made(branch, MEMBER, admin, {"membership": "ban"}, key=banned))
        events.append(self.made(branch, "m.room.topic", admin, {"topic": f"fork {number}"}, key=""))
        return events

    def after(self, heads: Sequence[EventId], number: int, *, is_state: bool = False) -> Event:
        """An event of an admin after these heads, by the state of the trunk."""
        branch = replace(self.trunk.copy(), heads=tuple(heads), depth=self.trunk.depth + 10)
        type_, key = ("m.room.name", "") if is_state else ("m.room.message", None)
        return self.made(branch, type_, self.members[number], {"name": "x", "number": number}, key=key)

    def long_ago(self, share: float) -> Event:
        """A message that follows the room as it was when this share of its members had joined."""
        number = int(share * len(self.members)) // BATCH * BATCH
        return self.made(self._before[number].copy(), "m.room.message", self.members[0], {"body": "late"})

    def receive(self, *events: Event) -> None:
        """Hand them to the server, which must take all of them."""
        pdus = [dict(event.pdu) for event in events]
        origin = domain_of(UserId(events[0].sender))
        running = Running(self.server.services.rooms.receiving.receive(self.room, pdus, origin=origin))
        while not running.is_done:
            self.server.time.advance(0.1)
        outcomes = running.result()
        assert set(outcomes.values()) == {None}, outcomes

    @property
    def heads(self) -> tuple[EventId, ...]:
        """The forward extremities there."""
        return result(self.server.services.rooms.rooms.load(self.room)).heads


def pdus_of(events: Iterable[Event]) -> list[dict[str, Any]]:
    """As a server sends them."""
    return [dict(event.pdu) for event in events]
