"""The rules for m.room.create: how a room may begin."""

from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import Event
from homeserver.protocol.ids import domain_of, is_user_id
from homeserver.protocol.room_versions import ROOM_VERSIONS


def check_create(event: Event) -> None:
    """Rule 1. Raises AuthFailure."""
    version = event.version
    if event.prev_event_ids:
        raise AuthFailure("1.1", "A create event comes before all others")
    if version.room_id_is_create_hash:
        if "room_id" in event.pdu:
            raise AuthFailure("1.2", "A create event is what gives the room its ID: it cannot have one")
    elif event.room_id.partition(":")[2] != domain_of(event.sender):
        raise AuthFailure("1.2", f"{event.sender} cannot create {event.room_id}")
    named = event.content.get("room_version", "1")
    if not isinstance(named, str) or named not in ROOM_VERSIONS:
        raise AuthFailure("1.3", f"Room version {str(named)[:64]!r} is not known here")
    if version.creator_in_content and "creator" not in event.content:
        raise AuthFailure("1.4", "The create event does not name the creator")
    if version.privileged_creators and "additional_creators" in event.content:
        additional = event.content["additional_creators"]
        if not isinstance(additional, list) or not all(_names_a_user(entry) for entry in additional):
            raise AuthFailure("1.4", "additional_creators must be a list of user IDs")


def _names_a_user(value: object) -> bool:
    return isinstance(value, str) and is_user_id(value)
