"""What was learnt from outside, for as long as it is good."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from homeserver.runtime.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Values by key, each until its time. When there are too many, the oldest make room."""

    def __init__(self, clock: Clock, max_entries: int) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value; None when there is none, or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._clock.monotonic():
            del self._entries[key]
            return None
        return entry[0]

    def keep(self, key: K, value: V, seconds: float) -> None:
        """Remember it for so long, instead of what was there."""
        self._entries.pop(key, None)
        self._entries[key] = (value, self._clock.monotonic() + seconds)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Nothing is known of it any more."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Nothing is known any more."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
