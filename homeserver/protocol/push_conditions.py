"""Conditions of push rules, compiled to tests of an event.

Users write patterns and other users write texts, so a whole rule set has a budget of steps for one event:
a set with many patterns looks at the beginning of a long text only (CVE-2021-29471).
https://spec.matrix.org/latest/client-server-api/#conditions-1
"""

import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt
from typing import NamedTuple, TypeAlias

from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.globs import WORD_BOUNDARY, Glob
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import Json
from homeserver.protocol.property_paths import MISSING, PropertyPath, parse_path, value_at
from homeserver.protocol.push_rules_default import OWN_USER_ID

_BODY: PropertyPath = ("content", "body")
_COUNT = re.compile(r"(==|<=|>=|<|>|)([0-9]{1,18})", re.ASCII)
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "": eq,
    "==": eq,
    "<": lt,
    ">": gt,
    "<=": le,
    ">=": ge,
}


class EventFacts:
    """What rules may ask of one event. Use one for all its recipients: it remembers what it worked out."""

    __slots__ = ("_folded", "event", "levels", "member_count", "room_id", "sender")

    def __init__(
        self,
        event: Mapping[str, Json],
        *,
        room_id: RoomId,
        sender: UserId,
        member_count: int,
        levels: PowerLevels,
    ) -> None:
        """`event` as clients see it; `member_count` counts joined members; `levels` are the room's."""
        self.event = event
        self.room_id = room_id
        self.sender = sender
        self.member_count = member_count
        self.levels = levels
        self._folded: dict[PropertyPath, str | None] = {}

    def folded(self, path: PropertyPath) -> str | None:
        """The text at the path in lower case; None when there is no text."""
        try:
            return self._folded[path]
        except KeyError:
            value = value_at(self.event, path)
            folded = self._folded[path] = value.lower() if isinstance(value, str) else None
            return folded

    def sender_may_notify(self, key: str) -> bool:
        """Has the sender the level to trigger notifications of this type, such as "room"?"""
        return self.levels.of_user(self.sender) >= self.levels.to_notify(key)


class Recipient(NamedTuple):
    """For whom rules are evaluated. Without a user ID, for anybody the event does not name."""

    user_id: str | None
    display_name: str | None = None


Test: TypeAlias = Callable[[EventFacts, Recipient], bool]


def cost_of(condition: Mapping[str, Json]) -> int:
    """Steps for each character of the event's texts, at worst."""
    pattern = condition.get("pattern")
    if condition.get("kind") == "event_match" and isinstance(pattern, str):
        return Glob(pattern).cost
    return 1 if condition.get("kind") == "contains_display_name" else 0


def compile_condition(condition: Mapping[str, Json], *, longest: int) -> Test | None:
    """The test, or None when the condition can never hold: unknown or malformed ones never do.

    `longest` is how many characters of a text may be looked at.
    """
    match condition:
        case {"kind": "event_match", "key": str(key), "pattern": str(pattern)}:
            return _event_match(parse_path(key), pattern, longest)
        case {"kind": "event_property_is", "key": str(key), "value": value}:
            return _property_is(parse_path(key), value)
        case {"kind": "event_property_contains", "key": str(key), "value": value}:
            return _property_contains(parse_path(key), value)
        case {"kind": "room_member_count", "is": str(count)}:
            return _member_count(count)
        case {"kind": "sender_notification_permission", "key": str(key)}:
            return lambda facts, recipient: facts.sender_may_notify(key)
        case {"kind": "contains_display_name"}:
            return lambda facts, recipient: _names(facts.folded(_BODY), recipient.display_name, longest)
    return None


def is_scalar(value: Json) -> bool:
    """A string, integer, boolean or null: what properties may be compared with."""
    return value is None or isinstance(value, str | bool | int)


def body_match(pattern: str, *, longest: int) -> Test:
    """The condition of a content rule."""
    return _event_match(_BODY, pattern, longest)


def _event_match(path: PropertyPath, pattern: str, longest: int) -> Test:
    if pattern == OWN_USER_ID:
        return lambda facts, recipient: (
            recipient.user_id is not None and value_at(facts.event, path) == recipient.user_id
        )
    glob = Glob(pattern.lower())
    if path == _BODY:
        return lambda facts, recipient: (
            (text := facts.folded(path)) is not None and glob.occurs_in(text[:longest])
        )
    if glob.literal is not None:
        literal = glob.literal
        return lambda facts, recipient: facts.folded(path) == literal
    return lambda facts, recipient: (
        (text := facts.folded(path)) is not None and len(text) <= longest and glob.matches(text)
    )


def _property_is(path: PropertyPath, wanted: Json) -> Test | None:
    if not is_scalar(wanted):
        return None
    kind = type(wanted)

    def test(facts: EventFacts, recipient: Recipient) -> bool:
        value = value_at(facts.event, path)
        return value is not MISSING and type(value) is kind and value == wanted

    return test


def _property_contains(path: PropertyPath, wanted: Json) -> Test | None:
    if not is_scalar(wanted):
        return None
    is_own_id = wanted == OWN_USER_ID

    def test(facts: EventFacts, recipient: Recipient) -> bool:
        values = value_at(facts.event, path)
        if not isinstance(values, list):
            return False
        sought = recipient.user_id if is_own_id else wanted
        if is_own_id and sought is None:
            return False
        return any(type(value) is type(sought) and value == sought for value in values)

    return test


def _member_count(text: str) -> Test | None:
    parsed = _COUNT.fullmatch(text)
    if parsed is None:
        return None
    compare, count = _COMPARISONS[parsed[1]], int(parsed[2])
    return lambda facts, recipient: compare(facts.member_count, count)


def _names(body: str | None, display_name: str | None, longest: int) -> bool:
    """Does the display name stand in the body, between word boundaries? It is no pattern."""
    if body is None or not display_name:
        return False
    name, body = display_name.lower(), body[:longest]
    return name in body and re.search(WORD_BOUNDARY + re.escape(name) + WORD_BOUNDARY, body) is not None
