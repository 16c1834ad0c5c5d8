"""Is somebody online? Decided from what their clients do. Pure: times are milliseconds of one steady clock.

https://spec.matrix.org/latest/client-server-api/#presence
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

ACTIVE_MS = 60_000
"""For so long after their last act somebody is currently active; it flips at most this often."""
IDLE_AFTER_MS = 5 * 60_000
GONE_AFTER_MS = 30_000
"""So long after their last sync ended somebody is offline."""
LONG_AGO = -(10**12)


class PresenceState(StrEnum):
    ONLINE = "online"
    UNAVAILABLE = "unavailable"
    OFFLINE = "offline"


class Visible(NamedTuple):
    """What others see, the time of the last act aside."""

    state: PresenceState
    is_currently_active: bool = False
    status_msg: str | None = None


OFFLINE = Visible(PresenceState.OFFLINE)


@dataclass(slots=True)
class Signs:
    """The signs of life of one user."""

    online_syncs: int = 0
    """Syncs held open that say the user is online, and when the last one ended; likewise unavailable ones."""
    online_sync_ended: int = LONG_AGO
    unavailable_syncs: int = 0
    unavailable_sync_ended: int = LONG_AGO
    last_active: int = LONG_AGO
    """When the user last did something themselves."""
    said: PresenceState | None = None
    """What the user said they are, until they do something: never ONLINE."""
    status_msg: str | None = None


def decide(signs: Signs, now: int) -> Visible:
    """What others see at `now`."""
    quiet = now - signs.last_active
    if signs.said is PresenceState.OFFLINE:
        return Visible(PresenceState.OFFLINE, status_msg=signs.status_msg)
    if signs.online_syncs or now - signs.online_sync_ended < GONE_AFTER_MS or quiet < GONE_AFTER_MS:
        if signs.said is None and quiet < IDLE_AFTER_MS:
            return Visible(PresenceState.ONLINE, quiet < ACTIVE_MS, signs.status_msg)
        return Visible(PresenceState.UNAVAILABLE, status_msg=signs.status_msg)
    if signs.unavailable_syncs or now - signs.unavailable_sync_ended < GONE_AFTER_MS:
        return Visible(PresenceState.UNAVAILABLE, status_msg=signs.status_msg)
    return Visible(PresenceState.OFFLINE, status_msg=signs.status_msg)


def next_change(signs: Signs, now: int) -> int | None:
    """The earliest time after `now` at which, without new signs, `decide` may say something else."""
    times = [signs.last_active + ACTIVE_MS, signs.last_active + IDLE_AFTER_MS]
    if not signs.online_syncs:
        times += [signs.last_active + GONE_AFTER_MS, signs.online_sync_ended + GONE_AFTER_MS]
    if not signs.unavailable_syncs:
        times.append(signs.unavailable_sync_ended + GONE_AFTER_MS)
    return min((time for time in times if time > now), default=None)


def is_away(signs: Signs, now: int) -> bool:
    """Has nothing of the user been seen for so long that there is nothing to remember?"""
    ended = max(signs.online_sync_ended, signs.unavailable_sync_ended, signs.last_active)
    return not (signs.online_syncs or signs.unavailable_syncs) and now - ended >= GONE_AFTER_MS
