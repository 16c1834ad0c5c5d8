"""May this user act in, or look into, this room?"""

from homeserver.protocol import event_types
from homeserver.protocol.errors import Forbidden, GuestAccessForbidden
from homeserver.protocol.ids import RoomId, UserId
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms


class NotInRoom(Forbidden):
    """The user acted in a room they have not joined, or that is not there: the answer is the same."""


def check_guests_may_join(room: Room) -> None:
    """Raises GuestAccessForbidden.

    https://spec.matrix.org/latest/client-server-api/#guest-access
    """
    if not takes_guests(room):
        raise GuestAccessForbidden(f"Guests may not join {room.room_id}")


def takes_guests(room: Room) -> bool:
    return room.content_of(event_types.GUEST_ACCESS).get("guest_access") == "can_join"


async def joined_room(rooms: Rooms, room_id: RoomId, user_id: UserId) -> Room:
    """The room, which the user is joined to. Raises NotInRoom."""
    room = rooms.find(room_id)
    if room is None:
        try:
            room = await rooms.load(room_id)
        except RoomNotFound:
            raise NotInRoom(f"{user_id} is not in {room_id}") from None
    if room.membership(user_id) != "join":
        raise NotInRoom(f"{user_id} is not in {room_id}")
    return room
