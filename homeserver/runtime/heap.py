"""The process's memory: how often garbage is looked for, and what is given back to the system.

What a burst of work took is given back once the process is at rest again. The C library keeps what was freed
between things still in use, for the process alone: a join of a large room or a message to thousands of
servers would be seen in the operating system's figures for ever.
"""

import ctypes
import gc
import time
from collections.abc import Callable

from homeserver.runtime.clock import Clock, DelayedCall

LOOK_EVERY_S = 30.0
BURST_S = 0.5
"""So much CPU time leaves something worth giving back."""
REST = 0.05
"""The share of a core below which the process is at rest."""
GARBAGE_THRESHOLD = 200_000
"""Allocations between two looks for cycles: Python's default of 700 costs a busy server several percent."""
YOUNG = 1
"""The garbage collector's generation that is looked through: what a burst left, not all that is cached."""


class Heap:
    """Looks twice a minute; gives back once after each burst, never in one."""

    def __init__(
        self, clock: Clock, *, cpu_s: Callable[[], float] = time.process_time,
        give_back: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._cpu_s = cpu_s
        self._give_back = give_back or give_memory_back
        self._given_back_at_s = 0.0
        self._looked_at_s = 0.0
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        """Look from now on."""
        self._given_back_at_s = self._looked_at_s = self._cpu_s()
        self._timer = self._clock.call_later(LOOK_EVERY_S, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        used_s = self._cpu_s()
        is_at_rest = used_s - self._looked_at_s < REST * LOOK_EVERY_S
        if is_at_rest and used_s - self._given_back_at_s >= BURST_S:
            self._give_back()
            used_s = self._given_back_at_s = self._cpu_s()
        self._looked_at_s = used_s
        self._timer = self._clock.call_later(LOOK_EVERY_S, self._look)


def settle() -> None:
    """What is alive now stays: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)


def give_memory_back() -> None:
    """Free what nobody holds, and have the C library give free pages to the system, where it can (glibc)."""
    gc.collect(YOUNG)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
