"""Many keys with something due, one timer for all of them.

For things that may happen a few seconds late and mostly are put off before they do. A key that is put off
costs nothing: it is looked at when it was first due, and whoever looks puts it down again.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from homeserver.runtime.clock import Clock, DelayedCall

K = TypeVar("K", bound=Hashable)


class TimingWheel(Generic[K]):
    """Calls `look(key)` up to two `step_s` after the key is due, never before."""

    def __init__(self, clock: Clock, look: Callable[[K], object], *, step_s: float) -> None:
        self._clock = clock
        self._look = look
        self._step_s = step_s
        self._sweeps: dict[int, list[K]] = {}
        self._due: dict[K, int] = {}
        self._timer: DelayedCall | None = None

    def put(self, key: K, due_s: float) -> None:
        """Look at the key when the monotonic clock shows `due_s`, unless it will be looked at earlier."""
        due = int(due_s // self._step_s) + 1
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        self._sweeps.setdefault(due, []).append(key)
        if self._timer is None:
            self._timer = self._clock.call_later(self._step_s, self._sweep)

    def stop(self) -> None:
        """Look at nothing any more."""
        self._sweeps.clear()
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for due in sorted(due for due in self._sweeps if due * self._step_s <= now):
            for key in self._sweeps.pop(due):
                if self._due.get(key) == due:
                    del self._due[key]
                    self._look(key)
        if self._sweeps and self._timer is None:
            self._timer = self._clock.call_later(self._step_s, self._sweep)
