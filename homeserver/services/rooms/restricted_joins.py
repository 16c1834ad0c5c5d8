"""Rooms that members of other rooms may join: does somebody meet a condition, and who of us can vouch for it?

https://spec.matrix.org/latest/client-server-api/#restricted-rooms
"""

from collections.abc import Collection
from enum import Enum, auto

from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.ids import RoomId, UserId
from homeserver.services.rooms.room import JOIN_RULES, Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms

AUTHORISED_VIA = "join_authorised_via_users_server"
MOST_CONDITIONS = 50


class Verdict(Enum):
    """Does the user meet a condition? UNKNOWN: in a room of which this server knows not all, perhaps."""

    MET = auto()
    NOT_MET = auto()
    UNKNOWN = auto()


class RestrictedJoins:
    """Judges from the rooms this server is in."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def needs_condition(self, room: Room, user_id: UserId) -> bool:
        """Must the user meet a condition to join?"""
        if not room.version.restricted or room.membership(user_id) in ("join", "invite"):
            return False
        rule = room.content_of(*JOIN_RULES).get("join_rule")
        return rule == "restricted" or (rule == "knock_restricted" and room.version.knock_restricted)

    async def verdict(self, room: Room, user_id: UserId) -> Verdict:
        """Is the user in one of the rooms whose members may join?"""
        verdict = Verdict.NOT_MET
        for room_id in allowed_rooms(room):
            try:
                other = self._rooms.find(room_id) or await self._rooms.load(room_id)
            except RoomNotFound:
                verdict = Verdict.UNKNOWN
                continue
            if not other.joined_local:
                verdict = Verdict.UNKNOWN
            elif other.membership(user_id) == "join":
                return Verdict.MET
            elif other.partial_servers:
                verdict = Verdict.UNKNOWN
        return verdict

    def authoriser(self, room: Room) -> UserId | None:
        """The local member with the most power, if they may invite."""
        levels = PowerLevels(room.events)
        strongest = max(sorted(room.joined_local), key=levels.of_user, default=None)
        return strongest if strongest is not None and levels.of_user(strongest) >= levels.to_invite else None


def allowed_rooms(room: Room) -> Collection[RoomId]:
    """The rooms whose members may join, as the join rules list them."""
    allow = room.content_of(*JOIN_RULES).get("allow")
    return [
        RoomId(room_id)
        for condition in (allow if isinstance(allow, list) else [])[:MOST_CONDITIONS]
        if isinstance(condition, dict)
        and condition.get("type") == "m.room_membership"
        and isinstance(room_id := condition.get("room_id"), str)
    ]
