"""A cache bounded in bytes, for things that never change: so nothing is ever invalidated, only forgotten."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 200
"""What the cache itself spends on an entry, about."""


class ByteCache(Generic[K, V]):
    """Keeps what was used last, as much as fits. For one thread."""

    def __init__(self, max_bytes: int) -> None:
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: K) -> V | None:
        """The value, now the one used last; None if it is not here."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of `size` bytes; what was not used for longest makes room.

        A value that takes more than an eighth of the cache is not kept: it would drive out too many others.
        """
        size += ENTRY_BYTES
        self.discard(key)
        if size > self.max_bytes // 8:
            return
        self._entries[key] = (value, size)
        self.bytes += size
        while self.bytes > self.max_bytes:
            self.bytes -= self._entries.popitem(last=False)[1][1]

    def discard(self, key: K) -> None:
        """Forget it, if it is here."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)
