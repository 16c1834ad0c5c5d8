"""What each room version changes, as one table.

Code asks a field ("does this version know knocking?"), never a version number.
https://spec.matrix.org/latest/rooms/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Final

from homeserver.protocol.errors import UnsupportedRoomVersion


class EventIdFormat(Enum):
    """Where an event's ID comes from."""

    EXPLICIT = "in the event_id field, with the server's name"
    HASH = "the reference hash in standard base64"
    URL_SAFE_HASH = "the reference hash in URL-safe base64"


class StateResolution(Enum):
    V1 = "1"
    V2 = "2"
    V2_1 = "2.1"


_TOP_LEVEL_V1 = frozenset(
    {
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "prev_state",
        "auth_events",
        "origin",
        "origin_server_ts",
        "membership",
    }
)
_TOP_LEVEL_V11 = _TOP_LEVEL_V1 - {"prev_state", "origin", "membership"}

_CONTENT_V1: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "m.room.member": frozenset({"membership"}),
        "m.room.create": frozenset({"creator"}),
        "m.room.join_rules": frozenset({"join_rule"}),
        "m.room.power_levels": frozenset(
            {
                "ban",
                "events",
                "events_default",
                "kick",
                "redact",
                "state_default",
                "users",
                "users_default",
            }
        ),
        "m.room.aliases": frozenset({"aliases"}),
        "m.room.history_visibility": frozenset({"history_visibility"}),
    }
)
_CONTENT_V6 = MappingProxyType(
    {type_: keys for type_, keys in _CONTENT_V1.items() if type_ != "m.room.aliases"}
)
_CONTENT_V8 = MappingProxyType({**_CONTENT_V6, "m.room.join_rules": frozenset({"join_rule", "allow"})})
_CONTENT_V9 = MappingProxyType(
    {
        **_CONTENT_V8,
        "m.room.member": frozenset({"membership", "join_authorised_via_users_server"}),
    }
)
_CONTENT_V11 = MappingProxyType(
    {
        **{type_: keys for type_, keys in _CONTENT_V9.items() if type_ != "m.room.create"},
        "m.room.power_levels": _CONTENT_V9["m.room.power_levels"] | {"invite"},
        "m.room.redaction": frozenset({"redacts"}),
    }
)


@dataclass(frozen=True, eq=False, slots=True)
class RoomVersion:
    """One row: the rules of a room version. Rows are compared by identity."""

    version: str
    event_id_format: EventIdFormat = EventIdFormat.EXPLICIT
    state_resolution: StateResolution = StateResolution.V1
    enforces_key_validity: bool = False
    """Signing keys must have been valid at origin_server_ts."""
    strict_canonical_json: bool = False
    """No floats, no integers beyond 53 bits; otherwise depth may reach 2^63 - 1."""
    integer_power_levels: bool = False
    """Otherwise strings (and, without strict canonical JSON, floats) stand for integers."""

    creator_in_content: bool = True
    """The creator is `content.creator` of the create event; otherwise its sender."""
    privileged_creators: bool = False
    """Creators (the sender and `additional_creators`) have infinite power."""
    room_id_is_create_hash: bool = False
    """The create event has no room_id and is not among anyone's auth_events."""

    aliases_by_domain: bool = False
    """m.room.aliases is authorised by the sender's domain alone."""
    redactions_authorised: bool = False
    """m.room.redaction is subject to an auth rule of its own; otherwise it is checked when applied."""
    notification_levels_limited: bool = False
    """Changing `notifications` in the power levels needs the level concerned."""
    knock: bool = False
    restricted: bool = False
    knock_restricted: bool = False
    member_rule: int = 5
    """The number of the auth rule for m.room.member; the rules after it follow on."""

    redacts_in_content: bool = False
    redaction_keeps: frozenset[str] = _TOP_LEVEL_V1
    """Top-level keys that survive redaction."""
    redaction_keeps_content: Mapping[str, frozenset[str]] = field(default_factory=lambda: _CONTENT_V1)
    """Content keys that survive, by event type; other types keep none."""
    redaction_keeps_create: bool = False
    """m.room.create keeps all its content."""
    redaction_keeps_third_party_signed: bool = False
    """m.room.member keeps `third_party_invite.signed`."""


_V1 = RoomVersion("1", aliases_by_domain=True, redactions_authorised=True)
_V2 = replace(_V1, version="2", state_resolution=StateResolution.V2)
_V3 = replace(_V2, version="3", event_id_format=EventIdFormat.HASH, redactions_authorised=False)
_V4 = replace(_V3, version="4", event_id_format=EventIdFormat.URL_SAFE_HASH)
_V5 = replace(_V4, version="5", enforces_key_validity=True)
_V6 = replace(
    _V5,
    version="6",
    strict_canonical_json=True,
    aliases_by_domain=False,
    notification_levels_limited=True,
    member_rule=4,
    redaction_keeps_content=_CONTENT_V6,
)
_V7 = replace(_V6, version="7", knock=True)
_V8 = replace(_V7, version="8", restricted=True, redaction_keeps_content=_CONTENT_V8)
_V9 = replace(_V8, version="9", redaction_keeps_content=_CONTENT_V9)
_V10 = replace(_V9, version="10", knock_restricted=True, integer_power_levels=True)
_V11 = replace(
    _V10,
    version="11",
    creator_in_content=False,
    redacts_in_content=True,
    redaction_keeps=_TOP_LEVEL_V11,
    redaction_keeps_content=_CONTENT_V11,
    redaction_keeps_create=True,
    redaction_keeps_third_party_signed=True,
)
_V12 = replace(
    _V11,
    version="12",
    state_resolution=StateResolution.V2_1,
    privileged_creators=True,
    room_id_is_create_hash=True,
    member_rule=5,
)

ROOM_VERSIONS: Final[Mapping[str, RoomVersion]] = MappingProxyType(
    {row.version: row for row in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)}
)
DEFAULT_VERSION: Final = "12"


def room_version(version: str) -> RoomVersion:
    """The row for a version as it stands in `m.room.create`. Raises UnsupportedRoomVersion."""
    row = ROOM_VERSIONS.get(version)
    if row is None:
        raise UnsupportedRoomVersion(f"Room version {version[:64]!r} is not supported here")
    return row
