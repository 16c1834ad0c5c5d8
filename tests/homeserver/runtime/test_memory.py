"""What was learnt is remembered for as long as it is good."""

from homeserver.runtime.memory import Memory
from tests.support.clock import FakeClock


def test_it_is_forgotten_when_its_time_is_over(time: FakeClock) -> None:
    memory: Memory[str, int] = Memory(time, 10)
    memory.keep("a", 1, 5.0)
    time.advance(4.9)
    assert memory.get("a") == 1
    time.advance(0.2)
    assert memory.get("a") is None
    assert len(memory) == 0


def test_the_newest_word_counts(time: FakeClock) -> None:
    memory: Memory[str, int] = Memory(time, 10)
    memory.keep("a", 1, 100.0)
    memory.keep("a", 2, 5.0)
    assert memory.get("a") == 2
    time.advance(6)
    assert memory.get("a") is None


def test_the_oldest_make_room(time: FakeClock) -> None:
    memory: Memory[int, int] = Memory(time, 3)
    for number in range(5):
        memory.keep(number, number, 100.0)
    assert [memory.get(number) for number in range(5)] == [None, None, 2, 3, 4]


def test_forgetting(time: FakeClock) -> None:
    memory: Memory[str, int] = Memory(time, 3)
    memory.keep("a", 1, 100.0)
    memory.forget("a")
    memory.forget("b")
    assert memory.get("a") is None
    memory.keep("a", 1, 100.0)
    memory.clear()
    assert memory.get("a") is None


def test_large_values_make_room_for_newer_ones(time: FakeClock) -> None:
    memory: Memory[str, str] = Memory(time, 10, max_size=100)
    memory.keep("a", "a", 5.0, size=60)
    memory.keep("b", "b", 5.0, size=60)
    assert (memory.get("a"), memory.get("b")) == (None, "b")
    memory.keep("b", "b", 5.0, size=10)
    memory.keep("c", "c", 5.0, size=90)
    assert (memory.get("b"), memory.get("c")) == ("b", "c")
    memory.keep("d", "d", 5.0, size=101)
    assert len(memory) == 0
    memory.keep("e", "e", 5.0, size=100)
    time.advance(6)
    assert memory.get("e") is None
    memory.keep("f", "f", 5.0, size=100)
    assert memory.get("f") == "f"
