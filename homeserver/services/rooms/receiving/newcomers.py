"""Servers that come in, or are let in again, while others say something that they are not sent.

An event goes to the servers that its own server knows to be in the room. Whoever was cut off, or had not
heard yet, when a server came in has sent it nothing; nor would it hear of these events before somebody says
something after both. So the server that said them says nothing, after all heads of the room, to everybody:
who lacks what lies before it asks for it.
"""

from zlib import crc32

from homeserver.protocol.ids import RoomId
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.closing import Closing

SOONEST_S = 2.0
LATEST_S = 8.0
"""Not all who said something do this at once: what the first of them says is enough for all."""


class Newcomers:
    """Sees to it that they hear of what our people said beside their coming."""

    def __init__(self, ground: RoomGround, closing: Closing) -> None:
        self._ground = ground
        self._closing = closing
        self._waiting: set[RoomId] = set()

    def note(self, room_id: RoomId) -> None:
        """Servers came into the room by an event beside others."""
        if room_id not in self._waiting:
            self._waiting.add(room_id)
            self._ground.tasks.start(f"tell newcomers of {room_id}", self._tell(room_id))

    async def _tell(self, room_id: RoomId) -> None:
        share = crc32(f"{self._ground.server_name}{room_id}".encode()) / 2**32
        try:
            await self._ground.clock.sleep(SOONEST_S + share * (LATEST_S - SOONEST_S))
        finally:
            self._waiting.discard(room_id)
        await self._closing.close_own(room_id)
