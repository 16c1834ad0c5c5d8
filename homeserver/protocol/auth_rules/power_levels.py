"""Power levels: what a user has, what an act needs, and which changes of them are allowed."""

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.event_types import CREATE, POWER_LEVELS
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import UserId, domain_of, is_user_id
from homeserver.protocol.json_values import Json
from homeserver.protocol.room_versions import RoomVersion

Level: TypeAlias = int | float
"""An integer, or infinity for the creators of a version 12 room."""

CREATE_KEY: StateKey = (CREATE, "")
POWER_LEVELS_KEY: StateKey = (POWER_LEVELS, "")

DEFAULT_LEVELS: Mapping[str, int] = {
    "ban": 50,
    "events_default": 0,
    "invite": 0,
    "kick": 50,
    "redact": 50,
    "state_default": 50,
    "users_default": 0,
}
_CREATOR_LEVEL = 100  # in rooms without power levels, before creators were privileged
_NOTIFY_ROOM_LEVEL = 50
_STRING_LEVEL = re.compile(r"\s*[+-]?[0-9]+\s*")
_STRING_LEVEL_LENGTH = 100  # far more digits than a level can have, far fewer than make int() slow


class PowerLevels:
    """The power levels in a state, defaults included. Cheap to make: nothing is parsed before it is asked."""

    __slots__ = ("_content", "_create", "_event", "_users", "_version")

    def __init__(self, state: Mapping[StateKey, Event]) -> None:
        """Without a create event in the state nobody has a creator's power."""
        self._create = state.get(CREATE_KEY)
        self._event = state.get(POWER_LEVELS_KEY)
        known = self._event or self._create
        self._version = None if known is None else known.version
        self._content: Mapping[str, Json] = {} if self._event is None else self._event.content
        users = self._content.get("users")
        self._users: Mapping[str, Json] = users if isinstance(users, dict) else {}

    def of_user(self, user_id: str) -> Level:
        create = self._create
        if create is not None and create.version.privileged_creators and is_creator(create, user_id):
            return math.inf
        if self._event is None:
            return _CREATOR_LEVEL if create is not None and is_creator(create, user_id) else 0
        if user_id in self._users:
            level = self._read(self._users[user_id])
            if level is not None:
                return level
        return self._named("users_default")

    def to_send(self, event_type: str, *, is_state: bool) -> Level:
        """The required power level of an event type."""
        events = self._content.get("events")
        if isinstance(events, dict) and event_type in events:
            level = self._read(events[event_type])
            if level is not None:
                return level
        return self._named("state_default" if is_state else "events_default")

    @property
    def to_invite(self) -> Level:
        return self._named("invite")

    @property
    def to_kick(self) -> Level:
        return self._named("kick")

    @property
    def to_ban(self) -> Level:
        return self._named("ban")

    @property
    def to_redact(self) -> Level:
        """What redacting the event of another needs, besides the level to send m.room.redaction."""
        return self._named("redact")

    def to_notify(self, key: str) -> Level:
        """What a notification of this kind needs, such as `room` for @room."""
        notifications = self._content.get("notifications")
        level = self._read(notifications.get(key)) if isinstance(notifications, dict) else None
        return _NOTIFY_ROOM_LEVEL if level is None else level

    def _named(self, name: str) -> Level:
        level = self._read(self._content[name]) if name in self._content else None
        return DEFAULT_LEVELS[name] if level is None else level

    def _read(self, value: Json) -> int | None:
        if type(value) is int:
            return value
        return None if self._version is None else read_level(self._version, value)


def power_level(state: Mapping[StateKey, Event], user_id: str) -> Level:
    """The user's power level in a state."""
    return PowerLevels(state).of_user(user_id)


def level_to_send(state: Mapping[StateKey, Event], event_type: str, *, is_state: bool) -> Level:
    """The level that sending an event of the type needs in a state."""
    return PowerLevels(state).to_send(event_type, is_state=is_state)


def may_redact(redaction: Event, target: Event, levels: PowerLevels) -> bool:
    """Is the redaction to be applied to its target? Room versions 3 and later ask this of both once known.

    https://spec.matrix.org/latest/rooms/v12/#handling-redactions
    """
    if redaction.room_id != target.room_id:
        return False
    if domain_of(redaction.sender) == domain_of(target.sender):
        return True
    return levels.of_user(redaction.sender) >= levels.to_redact


def creators(create: Event) -> frozenset[UserId]:
    """Who created the room: one user, or with version 12 also its `additional_creators`."""
    if create.version.privileged_creators:
        additional = create.content.get("additional_creators")
        named = additional if isinstance(additional, list) else []
        return frozenset([create.sender, *(UserId(user) for user in named if isinstance(user, str))])
    creator = create.content.get("creator") if create.version.creator_in_content else create.sender
    return frozenset([UserId(creator)] if isinstance(creator, str) else [])


def is_creator(create: Event, user_id: str) -> bool:
    """As `user_id in creators(create)`, without building the set."""
    if create.version.creator_in_content:
        return create.content.get("creator") == user_id
    if create.sender == user_id:
        return True
    additional = create.content.get("additional_creators") if create.version.privileged_creators else None
    return isinstance(additional, list) and user_id in additional


def read_level(version: RoomVersion, value: Json) -> int | None:
    """The integer a level stands for in the room version, or None when it is not one."""
    if type(value) is int:
        return value
    if version.integer_power_levels:
        return None
    if isinstance(value, str) and len(value) <= _STRING_LEVEL_LENGTH and _STRING_LEVEL.fullmatch(value):
        return int(value)
    if isinstance(value, float) and not version.strict_canonical_json and math.isfinite(value):
        return int(value)
    return None


def check_power_levels(event: Event, state: Mapping[StateKey, Event], levels: PowerLevels) -> None:
    """The rule for m.room.power_levels. Raises AuthFailure."""
    rule = event.version.member_rule + 5
    _check_form(event, rule)
    create = state[CREATE_KEY]
    users = event.content.get("users")
    if event.version.privileged_creators and isinstance(users, dict):
        for user_id in sorted(creators(create)):
            if user_id in users:
                raise AuthFailure(f"{rule}.4", f"{user_id} created the room: their power cannot be set")
    previous = state.get(POWER_LEVELS_KEY)
    if previous is not None:
        _Change(event, previous, rule, levels.of_user(event.sender)).check()


def _check_form(event: Event, rule: int) -> None:
    version, content = event.version, event.content
    if version.integer_power_levels:
        for name in DEFAULT_LEVELS:
            if name in content and type(content[name]) is not int:
                raise AuthFailure(f"{rule}.1", f"{name} must be an integer")
        for name in ("events", "notifications"):
            if name in content and not _is_level_map(version, content[name]):
                raise AuthFailure(f"{rule}.2", f"{name} must be an object of integers")
    if "users" in content:
        users = content["users"]
        if not _is_level_map(version, users) or not all(is_user_id(user) for user in _entries(users)):
            number = f"{rule}.3" if version.integer_power_levels else f"{rule}.1"
            raise AuthFailure(number, "users must be an object of integers by user ID")


def _is_level_map(version: RoomVersion, value: Json) -> bool:
    return isinstance(value, dict) and all(read_level(version, level) is not None for level in value.values())


def _entries(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


class _Change:
    """What an m.room.power_levels event alters, against what its sender may alter."""

    def __init__(self, event: Event, previous: Event, rule: int, own: Level) -> None:
        self.event = event
        self.previous = previous
        self.own = own
        self.rule = rule
        # The number of the rule "if there is no previous event, allow", which the others follow.
        self.first = 2
        if event.version.integer_power_levels:
            self.first = 5 if event.version.privileged_creators else 4

    def check(self) -> None:
        old, new = self.previous.content, self.event.content
        self._check_entries(
            {name: old[name] for name in DEFAULT_LEVELS if name in old},
            {name: new[name] for name in DEFAULT_LEVELS if name in new},
            rules=(f"{self.first + 1}.1", f"{self.first + 1}.2"),
        )
        limited = ["events"]
        if self.event.version.notification_levels_limited:
            limited.append("notifications")
        for name in limited:
            rules = (f"{self.first + 2}.1", f"{self.first + 3}.1")
            self._check_entries(_entries(old.get(name)), _entries(new.get(name)), rules=rules)
        self._check_users(_entries(old.get("users")), _entries(new.get("users")))

    def _check_entries(
        self, old: Mapping[str, Json], new: Mapping[str, Json], *, rules: tuple[str, str]
    ) -> None:
        """`rules` are the numbers for a current and for a new value beyond the sender's level."""
        for name in {**old, **new}:
            before, after = self._before(old, name), self._after(new, name, rules[1])
            if before == after:
                continue
            if before is not None and before > self.own:
                raise self._refusal(rules[0], f"{name} stands at {before}, above")
            if after is not None and after > self.own:
                raise self._refusal(rules[1], f"{name} would stand at {after}, above")

    def _check_users(self, old: Mapping[str, Json], new: Mapping[str, Json]) -> None:
        added_rule = f"{self.first + 5}.1"
        for user_id in {**old, **new}:
            before, after = self._before(old, user_id), self._after(new, user_id, added_rule)
            if before == after:
                continue
            if before is not None and before >= self.own and user_id != self.event.sender:
                raise self._refusal(f"{self.first + 4}.1", f"{user_id} has {before}, not below")
            if after is not None and after > self.own:
                raise self._refusal(added_rule, f"{user_id} would have {after}, above")

    def _before(self, entries: Mapping[str, Json], name: str) -> int | None:
        return read_level(self.event.version, entries[name]) if name in entries else None

    def _after(self, entries: Mapping[str, Json], name: str, rule: str) -> int | None:
        if name not in entries:
            return None
        level = read_level(self.event.version, entries[name])
        if level is None:
            # Old room versions state no rule for this, but what is no number cannot be compared.
            raise AuthFailure(f"{self.rule}.{rule}", f"The level of {name} must be an integer")
        return level

    def _refusal(self, rule: str, found: str) -> AuthFailure:
        return AuthFailure(f"{self.rule}.{rule}", f"{found} the {self.own} of {self.event.sender}")
