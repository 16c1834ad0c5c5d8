"""Invites refused and knocks taken back while no other server could be told: it is told later.

Whoever invited sees the invite stand until then. What is to be told is in the database: a restart does not
forget it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

import orjson

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import Change, RoomUnreachable
from homeserver.services.rooms.receiving import Receiving
from homeserver.storage.received_rooms import UntoldLeave

logger = logging.getLogger(__name__)

DAY_S = 24 * 3_600.0
TELL_AGAIN_AFTER_S = (60.0, 600.0, 3_600.0, 6 * 3_600.0, *(DAY_S,) * 6)
"""About a week in all."""

Tell = Callable[[Change, JsonObject, Sequence[ServerName]], Awaitable[object]]
"""Has one of the servers take the leave. Raises RoomUnreachable, or what the most telling of them said."""


class UntoldLeaves:
    """Tries each again and again, until a server has been told or there is nothing to tell any more."""

    def __init__(self, ground: RoomGround, receiving: Receiving, tell: Tell) -> None:
        self._clock = ground.clock
        self._database = ground.database
        self._store = ground.stores.received_rooms
        self._tasks = ground.tasks
        self._receiving = receiving
        self._tell = tell

    async def start(self) -> None:
        """Go on with those from before a restart."""
        for untold in await self._database.read(self._store.untold_leaves):
            self._begin(untold)

    async def keep(self, change: Change, content: JsonObject, servers: Sequence[ServerName]) -> None:
        """Before the leave happens here: once it has, it is not forgotten."""
        if servers:
            untold = UntoldLeave(
                change.room_id, change.target, orjson.dumps(servers), orjson.dumps(content), 0,
                self._clock.now_ms() + int(TELL_AGAIN_AFTER_S[0] * 1000),
            )  # fmt: skip
            await self._database.write(self._store.put_untold_leave, untold)
            self._begin(untold)

    def _begin(self, untold: UntoldLeave) -> None:
        self._tasks.start(f"tell that {untold.user_id} left {untold.room_id}", self._tell_until_done(untold))

    async def _tell_until_done(self, untold: UntoldLeave) -> None:
        while not await self._is_done(untold):
            attempts = untold.attempts + 1
            if attempts == len(TELL_AGAIN_AFTER_S):
                break
            next_ms = self._clock.now_ms() + int(TELL_AGAIN_AFTER_S[attempts] * 1000)
            untold = untold._replace(attempts=attempts, next_ms=next_ms)
            await self._database.write(self._store.put_untold_leave, untold)
        await self._database.write(self._store.remove_untold_leave, untold.room_id, untold.user_id)

    async def _is_done(self, untold: UntoldLeave) -> bool:
        """Once it is time: is somebody told now, or is there nobody to be told?"""
        await self._clock.sleep(max(0.0, (untold.next_ms - self._clock.now_ms()) / 1000))
        outside = await self._receiving.outside(untold.room_id, untold.user_id)
        if outside is None or outside.event_nid:  # invited again, or in the room
            return True
        change = Change(untold.user_id, untold.room_id, untold.user_id, "leave")
        try:
            await self._tell(change, orjson.loads(untold.content), orjson.loads(untold.servers))
        except RoomUnreachable:
            return False
        except MatrixError as error:
            logger.info("Nobody is told any more that %s left: %s", untold.user_id, error)
        return True
