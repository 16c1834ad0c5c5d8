"""The predefined push rules, as data, in their order.

Without the rules that looked for names in message bodies: version 1.17 of the specification removed them.
https://spec.matrix.org/latest/client-server-api/#predefined-rules
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from homeserver.protocol.json_values import Json

OWN_USER_ID: Final = "\0user_id"
"""Stands for the ID of the user whose rules these are; no ID contains a NUL."""

MASTER: Final = ".m.rule.master"
"""The only predefined rule that goes before the user's own."""


class Predefined(NamedTuple):
    rule_id: str
    conditions: tuple[Mapping[str, Json], ...]
    actions: tuple[Json, ...] = ()
    enabled: bool = True


def _match(key: str, pattern: str) -> Mapping[str, Json]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _is(key: str, value: Json) -> Mapping[str, Json]:
    return {"kind": "event_property_is", "key": key, "value": value}


_HIGHLIGHT: Final[Json] = {"set_tweak": "highlight"}
_TWO_MEMBERS: Final[Mapping[str, Json]] = {"kind": "room_member_count", "is": "2"}


def _sound(name: str) -> Json:
    return {"set_tweak": "sound", "value": name}


OVERRIDE: Final = (
    Predefined(MASTER, (), enabled=False),
    Predefined(".m.rule.suppress_notices", (_match("content.msgtype", "m.notice"),)),
    Predefined(
        ".m.rule.invite_for_me",
        (
            _match("type", "m.room.member"),
            _match("content.membership", "invite"),
            _match("state_key", OWN_USER_ID),
        ),
        ("notify", _sound("default")),
    ),
    Predefined(".m.rule.member_event", (_match("type", "m.room.member"),)),
    Predefined(
        ".m.rule.is_user_mention",
        ({"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": OWN_USER_ID},),
        ("notify", _sound("default"), _HIGHLIGHT),
    ),
    Predefined(
        ".m.rule.is_room_mention",
        (
            _is(r"content.m\.mentions.room", True),
            {"kind": "sender_notification_permission", "key": "room"},
        ),
        ("notify", _HIGHLIGHT),
    ),
    Predefined(
        ".m.rule.tombstone",
        (_match("type", "m.room.tombstone"), _match("state_key", "")),
        ("notify", _HIGHLIGHT),
    ),
    Predefined(".m.rule.reaction", (_match("type", "m.reaction"),)),
    Predefined(".m.rule.room.server_acl", (_match("type", "m.room.server_acl"), _match("state_key", ""))),
    Predefined(".m.rule.suppress_edits", (_is(r"content.m\.relates_to.rel_type", "m.replace"),)),
)

UNDERRIDE: Final = (
    Predefined(".m.rule.call", (_match("type", "m.call.invite"),), ("notify", _sound("ring"))),
    Predefined(
        ".m.rule.encrypted_room_one_to_one",
        (_TWO_MEMBERS, _match("type", "m.room.encrypted")),
        ("notify", _sound("default")),
    ),
    Predefined(
        ".m.rule.room_one_to_one",
        (_TWO_MEMBERS, _match("type", "m.room.message")),
        ("notify", _sound("default")),
    ),
    Predefined(".m.rule.message", (_match("type", "m.room.message"),), ("notify",)),
    Predefined(".m.rule.encrypted", (_match("type", "m.room.encrypted"),), ("notify",)),
)
