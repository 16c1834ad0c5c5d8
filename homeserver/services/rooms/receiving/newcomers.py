"""Servers that come in, or are let in again, while others say something that they are not sent.

An event goes to the servers that its own server knows to be in the room. Whoever was cut off, or had not
heard yet, when a server came in has sent it nothing; nor would it hear of these events before somebody says
something after both. So the server that said them says nothing, after all heads of the room, to everybody:
who lacks what lies before it asks for it. Not all servers do that: where the heads stay open, others do it.
"""

from collections.abc import Sequence
from zlib import crc32

from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.ids import EventId, RoomId
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.closing import Closing
from homeserver.services.rooms.receiving.fetching import Parts
from homeserver.services.rooms.room import Room

SOONEST_S = 2.0
LATEST_S = 8.0
"""Not all who said something do this at once: what the first of them says is enough for all."""
FOR_OTHERS_AFTER_S = 4.0
"""More than that, where it was none of ours who said it."""


class Newcomers:
    """Sees to it that they hear of what was said beside their coming."""

    def __init__(self, ground: RoomGround, closing: Closing, parts: Parts) -> None:
        self._ground = ground
        self._closing = closing
        self._sets = parts.sets
        self._stored = parts.stored
        self._waiting: dict[RoomId, set[EventId]] = {}
        """The heads of forks of late."""

    def note(self, room: Room, state_nid: int, is_admitting: bool) -> None:
        """An event was put beside others, with this state before it."""
        if is_admitting:
            self._begin(room.room_id, room.heads)
        elif room.came and not room.partial_servers:
            looking = self._look(room, room.heads, state_nid)
            self._ground.tasks.start(f"look for newcomers of {room.room_id}", looking)

    def _begin(self, room_id: RoomId, heads: Sequence[EventId]) -> None:
        waiting = self._waiting.get(room_id)
        if waiting is not None:
            waiting.update(heads)
            return
        self._waiting[room_id] = set(heads)
        self._ground.tasks.start(f"tell newcomers of {room_id}", self._tell(room_id))

    async def _look(self, room: Room, heads: Sequence[EventId], state_nid: int) -> None:
        if await self._is_unaware(room, state_nid):
            self._begin(room.room_id, heads)

    async def _tell(self, room_id: RoomId) -> None:
        """What is open still is a fork that nobody has spoken after."""
        share = crc32(f"{self._ground.server_name}{room_id}".encode()) / 2**32
        try:
            await self._ground.clock.sleep(SOONEST_S + share * (LATEST_S - SOONEST_S))
        finally:
            heads = self._waiting.pop(room_id)
        await self._closing.close_if_open(room_id, heads, only_ours=True)
        await self._ground.clock.sleep(FOR_OTHERS_AFTER_S)
        await self._closing.close_if_open(room_id, heads, only_ours=False)

    async def _is_unaware(self, room: Room, state_nid: int) -> bool:
        """Did who spoke in this state not know yet that a server had come in?"""
        came = [user_id for user_id in room.came if user_id in room.joined]
        if not came or not await self._sets.is_stored(state_nid):
            return False
        ids = await self._sets.pick(state_nid, [(MEMBER, user_id) for user_id in came])
        found = await self._stored.load(room.version, ids)
        known = {one.event.state_key for one in found.values() if one.event.membership == "join"}
        return not known.issuperset(came)
