"""The newest changes of many things, kept in memory so that a sync which is up to date needs no SQL.

Each key (a room, a user) has a log of its changes in order of position. Memory is bounded, and knows
where it begins: at or below that, the answer is "ask the database", never a wrong "nothing".
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Log(Generic[V]):
    __slots__ = ("last", "positions", "start", "values")

    def __init__(self, start: int) -> None:
        self.start = start  # every change above it is here
        self.last = start
        self.positions: list[int] = []
        self.values: list[V] = []


class RecentChanges(Generic[K, V]):
    """`last_position` and `since` for each key. `position` tells where the streams stand now."""

    def __init__(self, position: Callable[[], int], *, per_key: int = 256, entries: int = 50_000) -> None:
        self._position = position
        self._per_key = per_key
        self._most_entries = entries
        self._entries = 0
        self._logs: OrderedDict[K, _Log[V]] = OrderedDict()  # the one that changed longest ago first
        self._floor = -1  # nothing that a key without a log did above it is unknown; -1: not begun

    def last_position(self, key: K) -> int:
        """The key's newest change, or an upper bound of it: nothing happened after this position."""
        log = self._logs.get(key)
        if log is not None:
            return log.last
        return self._floor if self._floor >= 0 else self._begin()

    def since(self, key: K, position: int) -> list[V] | None:
        """What changed after `position`, oldest first; None when memory does not reach back so far."""
        log = self._logs.get(key)
        if log is None:
            return [] if position >= self.last_position(key) else None
        if position >= log.last:
            return []
        if position < log.start:
            return None
        return log.values[bisect_right(log.positions, position) :]

    def add(self, key: K, position: int, value: V) -> None:
        """Remember a change. Positions of one key usually ascend; a late one is sorted in."""
        log = self._logs.get(key)
        if log is None:
            log = self._open(key)
        else:
            self._logs.move_to_end(key)
        if position > log.last or not log.positions:
            log.positions.append(position)
            log.values.append(value)
            log.last = max(log.last, position)
        else:
            index = bisect_right(log.positions, position)
            log.positions.insert(index, position)
            log.values.insert(index, value)
        self._entries += 1
        self._bound(log)

    def learn(self, key: K, last_position: int) -> None:
        """The database says that the key's newest change below the beginning of memory is at `last_position`.

        Call it with what a read found that began after the key's log was last looked at.
        """
        if key not in self._logs and last_position <= self.last_position(key):
            log = self._open(key)
            log.last = last_position
            self._logs.move_to_end(key, last=False)
            self._bound(log)

    def _open(self, key: K) -> _Log[V]:
        log: _Log[V] = _Log(self._floor if self._floor >= 0 else self._begin())
        self._logs[key] = log
        self._entries += 1  # an empty log costs memory too
        return log

    def _begin(self) -> int:
        self._floor = self._position()
        return self._floor

    def _bound(self, log: _Log[V]) -> None:
        if len(log.positions) > self._per_key:
            dropped = len(log.positions) // 2
            log.start = log.positions[dropped - 1]
            del log.positions[:dropped], log.values[:dropped]
            self._entries -= dropped
        while self._entries > self._most_entries and len(self._logs) > 1:
            _, oldest = self._logs.popitem(last=False)
            self._entries -= 1 + len(oldest.positions)
            self._floor = max(self._floor, oldest.last)
