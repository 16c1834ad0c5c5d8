"""Guests leave a room that no longer takes them.

https://spec.matrix.org/latest/client-server-api/#guest-access
"""

from collections.abc import Sequence

from homeserver.protocol import event_types
from homeserver.protocol.ids import RoomId
from homeserver.services.rooms.access import takes_guests
from homeserver.services.rooms.built import Built
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import RoomMembership
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms


class RoomGuests:
    """Follows the writer."""

    def __init__(self, ground: RoomGround, rooms: Rooms, membership: RoomMembership) -> None:
        self._profiles = ground.profiles
        self._tasks = ground.tasks
        self._rooms = rooms
        self._membership = membership

    def note(self, room: Room, batch: Sequence[Built]) -> None:
        """Show guests out when what happened is that they are no longer welcome."""
        for built in batch:
            if built.event.type != event_types.GUEST_ACCESS or built.timeline.replaces_nid is None:
                continue
            if not takes_guests(room):
                self._tasks.start(f"show guests out of {room.room_id}", self._show_out(room.room_id))

    async def _show_out(self, room_id: RoomId) -> None:
        room = await self._rooms.load(room_id)
        for user_id in await self._profiles.guests_among(room.joined_local):
            await self._membership.leave(user_id, room_id)
