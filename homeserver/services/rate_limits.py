"""Spend from a limit, or be told when to come back.

A limit is a bucket per key: it holds `burst` drops and fills at `per_second`. A bucket is one number, the
moment at which it will be full again: a bucket that is full needs no memory.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from homeserver.config.rate_limits import Limit
from homeserver.protocol.errors import LimitExceeded

MAX_BUCKETS = 100_000
"""So many buckets of one limit are kept; beyond, those nearest to full are taken for full."""

Key: TypeAlias = str | tuple[str, ...]


class RateLimits:
    """All limits, by name. A name that is not in `limits`, or with None, is off."""

    def __init__(self, monotonic: Callable[[], float], limits: Mapping[str, Limit | None]) -> None:
        self._monotonic = monotonic
        self._buckets = {name: _Buckets(limit) for name, limit in limits.items() if limit is not None}

    def spend(self, name: str, key: Key, drops: float = 1) -> None:
        """Take from the key's bucket. Raises LimitExceeded, and takes nothing, when too little is left."""
        buckets = self._buckets.get(name)
        if buckets is not None:
            buckets.spend(key, drops, self._monotonic())

    def give_back(self, name: str, key: Key, drops: float = 1) -> None:
        """Undo a `spend` for something that turned out not to count."""
        buckets = self._buckets.get(name)
        if buckets is not None:
            buckets.give_back(key, drops)

    def is_on(self, name: str) -> bool:
        """Is there anything to spend from?"""
        return name in self._buckets


class _Buckets:
    """The buckets of one limit."""

    __slots__ = ("_depth_s", "_drop_s", "_full_at", "_sweep_at")

    def __init__(self, limit: Limit) -> None:
        self._drop_s = 1 / limit.per_second
        self._depth_s = limit.burst * self._drop_s
        self._full_at: dict[Key, float] = {}
        self._sweep_at = 1024

    def spend(self, key: Key, drops: float, now: float) -> None:
        full_at = max(self._full_at.get(key, now), now) + drops * self._drop_s
        missing_s = full_at - now - self._depth_s
        if missing_s > 1e-9:
            raise LimitExceeded(retry_after_ms=int(missing_s * 1000) + 1)
        self._full_at[key] = full_at
        if len(self._full_at) >= self._sweep_at:
            self._sweep(now)

    def give_back(self, key: Key, drops: float) -> None:
        if key in self._full_at:
            self._full_at[key] -= drops * self._drop_s

    def _sweep(self, now: float) -> None:
        kept = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        if len(kept) > MAX_BUCKETS // 2:
            emptiest = sorted(kept.items(), key=lambda item: -item[1])
            kept = dict(emptiest[: MAX_BUCKETS // 2])
        self._full_at = kept
        self._sweep_at = max(1024, 2 * len(kept))
