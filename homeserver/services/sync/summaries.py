"""What clients name a room by that has no name, and count its members with.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync_response-200_roomsummary
"""

from homeserver.protocol import event_types
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.heroes import names_other_than
from homeserver.services.rooms.room import Room


def summary(room: Room, user_id: UserId) -> JsonObject:
    """How many there are, and who, where the room has no name of its own."""
    found: JsonObject = {
        "m.joined_member_count": len(room.joined),
        "m.invited_member_count": room.invited,
    }
    named = room.content_of(event_types.NAME).get("name") or room.content_of(event_types.CANONICAL_ALIAS).get(
        "alias"
    )
    if not named:
        found["m.heroes"] = names_other_than(user_id, room)
    return found
