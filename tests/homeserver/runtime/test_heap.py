"""Memory is given back after a burst of work."""

import ctypes
from collections.abc import Iterator

import pytest

from homeserver.app.process_metrics import resident_bytes
from homeserver.runtime.heap import Heap, give_memory_back
from tests.support.clock import FakeClock

MIB = 1024 * 1024
MINUTE_S = 60.0


class Process:
    """What it has used of the CPU, and when it gave memory back."""

    def __init__(self, time: FakeClock) -> None:
        self.time = time
        self.used_s = 10.0
        self.given_back: list[float] = []
        self.heap = Heap(time, cpu_s=lambda: self.used_s, give_back=self._give_back)

    def _give_back(self) -> None:
        self.given_back.append(self.time.monotonic())

    def work(self, seconds: int, *, share: float) -> None:
        for _ in range(seconds):
            self.used_s += share
            self.time.advance(1)


@pytest.fixture
def process(time: FakeClock) -> Iterator[Process]:
    one = Process(time)
    one.heap.start()
    yield one
    one.heap.stop()
    assert time.timers == 0


def test_once_after_each_burst_when_it_is_over(process: Process) -> None:
    process.work(100, share=0.9)
    assert process.given_back == []
    process.work(90, share=0.001)
    assert len(process.given_back) == 1
    process.work(3600, share=0.0001)
    assert len(process.given_back) == 1
    process.work(5, share=0.5)
    process.work(90, share=0.001)
    assert len(process.given_back) == 2


def test_never_by_a_process_that_does_nothing(process: Process) -> None:
    process.work(3600, share=0.0001)
    assert process.given_back == []


def test_seldom_by_one_that_always_has_a_little_to_do(process: Process) -> None:
    process.work(3600, share=0.01)
    assert 0 < len(process.given_back) <= 3600 / MINUTE_S


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than glibc")
def test_what_was_freed_among_what_is_in_use_goes_to_the_system() -> None:
    blocks = [b"x" * 100_000 + bytes([number % 256]) for number in range(500)]
    del blocks[::2]
    before = resident_bytes()
    give_memory_back()
    assert before - resident_bytes() > 15 * MIB
    assert len(blocks) == 250
