"""Which events authorise an event.

https://spec.matrix.org/latest/server-server-api/#auth-events-selection
"""

from collections.abc import Mapping

from homeserver.protocol.event_types import CREATE, JOIN_RULES, MEMBER, POWER_LEVELS, THIRD_PARTY_INVITE
from homeserver.protocol.events import StateKey
from homeserver.protocol.json_values import Json
from homeserver.protocol.room_versions import RoomVersion

_JUDGED_BY_JOIN_RULES = ("join", "invite", "knock")


def auth_keys(
    version: RoomVersion, *, type: str, sender: str, state_key: str | None, content: Mapping[str, Json]
) -> list[StateKey]:
    """The keys of the state events that an event's `auth_events` name, as far as the room has them.

    No key stands twice. The state that `check` reads is this, and the create event in any version.
    """
    if type == CREATE:
        return []
    keys: list[StateKey] = [] if version.room_id_is_create_hash else [(CREATE, "")]
    keys.append((POWER_LEVELS, ""))
    keys.append((MEMBER, sender))
    if type == MEMBER and state_key is not None:
        keys += [key for key in _membership_keys(version, state_key, content) if key != (MEMBER, sender)]
    return keys


def _membership_keys(version: RoomVersion, target: str, content: Mapping[str, Json]) -> list[StateKey]:
    keys = [(MEMBER, target)]
    membership = content.get("membership")
    if membership in _JUDGED_BY_JOIN_RULES:
        keys.append((JOIN_RULES, ""))
    if membership == "invite":
        invite = content.get("third_party_invite")
        signed = invite.get("signed") if isinstance(invite, dict) else None
        token = signed.get("token") if isinstance(signed, dict) else None
        if isinstance(token, str):
            keys.append((THIRD_PARTY_INVITE, token))
    if membership == "join" and version.restricted:
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and authoriser != target:
            keys.append((MEMBER, authoriser))
    return keys
