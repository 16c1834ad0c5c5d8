"""A room of any version in memory, whose every event is built, signed and judged by the real rules."""

from collections.abc import Mapping

from homeserver.protocol.auth_rules import auth_keys, check
from homeserver.protocol.event_types import CREATE, JOIN_RULES, MEMBER, POWER_LEVELS
from homeserver.protocol.events import Draft, Event, StateKey, build
from homeserver.protocol.ids import EventId, RoomId, UserId, domain_of
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signatures import SigningKey

ALICE = UserId("@alice:a.example")
BOB = UserId("@bob:b.example")
CAROL = UserId("@carol:c.example")
KEY = SigningKey("test", b"0" * 32)
ALL_VERSIONS = sorted(ROOM_VERSIONS, key=int)


def versions(first: int = 1, last: int = 12) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


class Room:
    """Alice creates it and joins it. `send` judges an event and applies it; `event` only builds it."""

    def __init__(self, version: str = "12", *, creator: UserId = ALICE, **create_content: Json) -> None:
        self.version = ROOM_VERSIONS[version]
        self.creator = creator
        self.state: dict[StateKey, Event] = {}
        self.last: Event | None = None
        self.room_id: RoomId | None = None if self.version.room_id_is_create_hash else RoomId("!r:a.example")
        content: JsonObject = {"room_version": version, **create_content}
        if self.version.creator_in_content:
            content.setdefault("creator", creator)
        self.create = self.send(CREATE, creator, content, "")
        self.room_id = self.create.room_id
        self.send(MEMBER, creator, {"membership": "join"}, creator)

    def event(
        self,
        type: str,
        sender: UserId,
        content: Mapping[str, Json],
        state_key: str | None = None,
        *,
        redacts: EventId | None = None,
        prev_event_ids: tuple[EventId, ...] | None = None,
    ) -> Event:
        selected = auth_keys(self.version, type=type, sender=sender, state_key=state_key, content=content)
        if prev_event_ids is None:
            prev_event_ids = () if self.last is None else (self.last.event_id,)
        draft = Draft(
            type=type,
            sender=sender,
            content=content,
            state_key=state_key,
            room_id=self.room_id,
            prev_event_ids=prev_event_ids,
            auth_event_ids=tuple(self.state[key].event_id for key in selected if key in self.state),
            depth=1 if self.last is None else self.last.depth + 1,
            origin_server_ts=1_700_000_000_000,
            redacts=redacts,
        )
        return build(draft, self.version, domain_of(sender), KEY)

    def check(self, event: Event) -> None:
        check(event, self.state)

    def apply(self, event: Event) -> Event:
        """Let it happen, allowed or not."""
        if event.state_key is not None:
            self.state[event.key] = event
        self.last = event
        return event

    def send(
        self, type: str, sender: UserId, content: Mapping[str, Json], state_key: str | None = None
    ) -> Event:
        event = self.event(type, sender, content, state_key)
        self.check(event)
        return self.apply(event)

    def member(self, target: UserId, membership: Json, *, by: UserId | None = None, **content: Json) -> Event:
        return self.event(MEMBER, by or target, {"membership": membership, **content}, target)

    def set_member(self, target: UserId, membership: str) -> Event:
        """As if it had always been so."""
        return self.apply(self.member(target, membership))

    def set_join_rule(self, join_rule: str) -> None:
        self.apply(self.event(JOIN_RULES, self.creator, {"join_rule": join_rule}, ""))

    def set_levels(self, **content: Json) -> Event:
        """Put power levels in place without asking the rules. The creator has 100 where that is a number."""
        if not self.version.privileged_creators:
            users = content.get("users")
            content["users"] = {self.creator: 100, **(users if isinstance(users, dict) else {})}
        return self.apply(self.event(POWER_LEVELS, self.creator, content, ""))
