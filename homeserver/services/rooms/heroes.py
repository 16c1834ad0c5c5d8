"""Whom a room without a name is named by."""

from homeserver.protocol.ids import UserId
from homeserver.services.rooms.room import Room


def names_other_than(user_id: UserId, room: Room) -> list[UserId]:
    """Heroes: the first five others who are joined or invited, or, with none left, who were.

    https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync_response-200_roomsummary
    """
    others = [(member.since, user) for user, member in room.members.items() if user != user_id]
    present = [pair for pair in others if room.members[pair[1]].membership in ("join", "invite")]
    return [user for _, user in sorted(present or others)[:5]]
