"""Removes what nobody can use any more."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import CancelledError

logger = logging.getLogger(__name__)

EVERY_S = 60 * 60


async def remove_expired_forever(clock: Clock, removals: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Call all removals, now and every hour. One that fails is tried again an hour later."""
    while True:
        for remove in removals:
            try:
                await remove()
            except CancelledError:
                raise
            except Exception:
                logger.exception("Expired tokens could not be removed: trying again in an hour")
        await clock.sleep(EVERY_S)
