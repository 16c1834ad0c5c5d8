"""Which membership events a client has, of those that lazy loading sends when somebody speaks.

Knowledge travels with tokens: what an answer told is known to whoever comes back with that answer's token. An
answer that was lost on the way, or a client that starts anew from an older token, is told again. All is in
memory, bounded, and gone after a restart: what was forgotten is sent once more, as the specification allows.
https://spec.matrix.org/latest/client-server-api/#lazy-loading-room-members
"""

from collections import OrderedDict
from collections.abc import Collection, Hashable
from collections.abc import Set as AbstractSet
from typing import Protocol

from homeserver.protocol.ids import DeviceId, RoomId, UserId
from homeserver.protocol.stream_position import PagePosition
from homeserver.runtime.cache import ByteCache

MOST_OF_STREAM = 10_000
MOST_STREAMS_OF_DEVICE = 4
MOST_IN_ALL = 100_000
STREAM_WEIGHT = 5
PAGES_BYTES = 8 * 1024 * 1024
NID_BYTES = 90
"""What a number in a set takes, about."""

_NOTHING: frozenset[int] = frozenset()


class Asker(Protocol):
    """Whose device asks."""

    @property
    def user_id(self) -> UserId: ...

    @property
    def device_id(self) -> DeviceId | None: ...


class SyncStream:
    """What the syncs of one device with one filter told: by membership event, at which position."""

    __slots__ = ("newest", "since", "told")

    def __init__(self) -> None:
        self.since = 0
        self.newest = 0
        self.told: dict[int, int] = {}

    def has(self, nid: int, since: int) -> bool:
        """Did an answer up to this token tell of the event?"""
        return self.told.get(nid, since + 1) <= since

    def resume(self, since: int) -> None:
        """The client comes with this token: whatever was told after it did not arrive, or was given up."""
        if self.newest > since:
            self.told = {nid: position for nid, position in self.told.items() if position <= since}
        self.since = self.newest = since

    def add(self, nids: Collection[int], position: int) -> None:
        if len(self.told) + len(nids) > MOST_OF_STREAM:
            self.told.clear()
        self.told.update(dict.fromkeys(nids, position))
        self.newest = max(self.newest, position)


class ToldMembers:
    """Remembers for syncs, and for pages of history. A device is told by the numbers of membership events."""

    def __init__(self, *, most_in_all: int = MOST_IN_ALL) -> None:
        self._devices: OrderedDict[tuple[UserId, DeviceId | None], dict[str, SyncStream]] = OrderedDict()
        self._weight = 0
        self._most_in_all = most_in_all
        self._pages: ByteCache[Hashable, frozenset[int]] = ByteCache(PAGES_BYTES)

    def begin(self, asker: Asker, filter_key: str, since: int) -> SyncStream:
        """A sync from a token on. One device may sync in several ways, each with a filter of its own."""
        device = (asker.user_id, asker.device_id)
        streams = self._devices.setdefault(device, {})
        self._devices.move_to_end(device)
        stream = streams.pop(filter_key, None)
        if stream is None:
            stream = SyncStream()
            self._weight += STREAM_WEIGHT
        streams[filter_key] = stream  # the one used last stands last
        self._weight -= len(stream.told)
        stream.resume(since)
        self._weight += len(stream.told)
        if len(streams) > MOST_STREAMS_OF_DEVICE:
            self._weight -= _weight(streams.pop(next(iter(streams))))
        self._shrink()
        return stream

    def note(self, asker: Asker, stream: SyncStream, nids: Collection[int], position: int) -> None:
        """The answer whose token is the position tells of these events."""
        streams = self._devices.get((asker.user_id, asker.device_id), {})
        if not nids or all(stream is not one for one in streams.values()):  # forgotten meanwhile
            return
        self._weight -= len(stream.told)
        stream.add(nids, position)
        self._weight += len(stream.told)
        self._shrink()

    def _shrink(self) -> None:
        while self._weight > self._most_in_all and len(self._devices) > 1:
            _, streams = self._devices.popitem(last=False)
            self._weight -= sum(map(_weight, streams.values()))

    def before_page(self, asker: Asker, room_id: RoomId, start: PagePosition | None) -> AbstractSet[int]:
        """What the pages before this one told, which ended where it starts."""
        if start is None:
            return _NOTHING
        return self._pages.get(_page(asker, room_id, start)) or _NOTHING

    def by_sync(self, asker: Asker) -> SyncStream:
        """What the syncs told the device that it makes at present."""
        streams = self._devices.get((asker.user_id, asker.device_id))
        return next(reversed(streams.values())) if streams else SyncStream()

    def note_page(
        self, asker: Asker, room_id: RoomId, end: PagePosition | None, told: AbstractSet[int]
    ) -> None:
        """This is what all pages up to the one with this end told."""
        if end is not None and told:
            self._pages.put(_page(asker, room_id, end), frozenset(told), NID_BYTES * len(told))


def _weight(stream: SyncStream) -> int:
    return STREAM_WEIGHT + len(stream.told)


def _page(asker: Asker, room_id: RoomId, end: PagePosition) -> Hashable:
    return asker.user_id, asker.device_id, room_id, str(end)
