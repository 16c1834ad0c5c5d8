"""When, from where and with what each device was last in use: noted in memory, written once a minute."""

import logging

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.protocol.requester import Requester
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import CancelledError
from homeserver.runtime.database import Database
from homeserver.runtime.tasks import Tasks
from homeserver.storage.devices import DeviceStore, Sighting

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 60
MAX_USER_AGENT = 500


class LastSeen:
    """Notes uses of devices. A crash loses at most the last minute of them."""

    def __init__(self, database: Database, devices: DeviceStore, clock: Clock) -> None:
        self._database = database
        self._devices = devices
        self._clock = clock
        self._uses: dict[tuple[UserId, DeviceId], tuple[int, str, bytes | None]] = {}

    def start(self, tasks: Tasks) -> None:
        """Begin to write once a minute."""
        tasks.start("write when devices were last seen", self._write_every_minute())

    def note(self, requester: Requester, ip: str, user_agent: bytes | None) -> None:
        """The device has just been in use. For every request, so nothing is done but to remember it."""
        if requester.device_id is not None:
            self._uses[requester.user_id, requester.device_id] = (self._clock.now_ms(), ip, user_agent)

    def of(self, user_id: UserId, device_id: DeviceId) -> Sighting | None:
        """What has been noted and is not yet in the database."""
        use = self._uses.get((user_id, device_id))
        if use is None:
            return None
        seen_ms, ip, user_agent = use
        return Sighting(user_id, device_id, seen_ms, ip, _text(user_agent))

    async def write(self) -> None:
        """Write what has been noted."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        sightings = [
            Sighting(user_id, device_id, seen_ms, ip, _text(user_agent))
            for (user_id, device_id), (seen_ms, ip, user_agent) in sorted(uses.items())
        ]
        try:
            await self._database.write(self._devices.seen, sightings)
        except BaseException:
            self._uses = uses | self._uses
            raise

    async def write_or_log(self) -> None:
        """Write, and log a failure: before the database is closed, too, so that the last minute is kept."""
        try:
            await self.write()
        except CancelledError:
            raise
        except Exception:
            logger.exception("Could not write when devices were last seen")

    async def _write_every_minute(self) -> None:
        while True:
            await self._clock.sleep(WRITE_EVERY_S)
            await self.write_or_log()


def _text(user_agent: bytes | None) -> str | None:
    """Control characters are left out: databases refuse NUL."""
    if user_agent is None:
        return None
    return "".join(letter for letter in user_agent.decode("latin-1") if letter.isprintable())[:MAX_USER_AGENT]
