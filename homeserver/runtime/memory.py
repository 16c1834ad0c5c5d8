"""What was learnt from outside, for as long as it is good."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from homeserver.runtime.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Values by key, each until its time. When there are too many, the oldest make room.

    `max_size` bounds what the values come to together, by the sizes that `keep` is told.
    """

    def __init__(self, clock: Clock, max_entries: int, *, max_size: int | None = None) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_size = max_size
        self._size = 0
        self._entries: OrderedDict[K, tuple[V, float, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value; None when there is none, or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._clock.monotonic():
            self.forget(key)
            return None
        return entry[0]

    def keep(self, key: K, value: V, seconds: float, *, size: int = 0) -> None:
        """Remember it for so long, instead of what was there."""
        self.forget(key)
        self._entries[key] = (value, self._clock.monotonic() + seconds, size)
        self._size += size
        while len(self._entries) > self._max_entries or self._is_too_large:
            self.forget(next(iter(self._entries)))

    def forget(self, key: K) -> None:
        """Nothing is known of it any more."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry[2]

    def clear(self) -> None:
        """Nothing is known any more."""
        self._entries.clear()
        self._size = 0

    @property
    def _is_too_large(self) -> bool:
        return self._max_size is not None and self._size > self._max_size

    def __len__(self) -> int:
        return len(self._entries)
