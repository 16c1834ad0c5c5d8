"""What a client asks of /sync."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from homeserver.protocol.filters import PASS_ALL, Filter
from homeserver.protocol.ids import DeviceId, UserId
from homeserver.services.rooms.told_members import SyncStream


@dataclass(frozen=True, slots=True)
class SyncQuery:
    """`since` 0: everything. `ignored`: whose messages and invites the user does not want.

    `told`: with lazy loading, which members the device knows.
    """

    user_id: UserId
    device_id: DeviceId | None
    since: int = 0
    filter: Filter = PASS_ALL
    full_state: bool = False
    use_state_after: bool = False
    ignored: AbstractSet[UserId] = frozenset()
    told: SyncStream | None = None

    @property
    def is_initial(self) -> bool:
        return self.since == 0

    @property
    def timeline_limit(self) -> int:
        limit = self.filter.room.timeline.limit
        return 10 if limit is None else min(limit, 1_000)
