"""Logs of recent changes: exact where memory reaches, honest where it does not."""

import random

from homeserver.services.recent_changes import RecentChanges


def changes(position: int = 100, **limits: int) -> RecentChanges[str, str]:
    return RecentChanges(lambda: position, **limits)


def test_an_unknown_key_changed_at_the_latest_where_memory_begins() -> None:
    recent = changes(100)
    assert recent.last_position("room") == 100
    assert recent.since("room", 100) == []
    assert recent.since("room", 99) is None


def test_changes_come_in_order_of_position() -> None:
    recent = changes(100)
    recent.add("room", 101, "a")
    recent.add("room", 105, "c")
    recent.add("room", 103, "b")
    assert recent.since("room", 100) == ["a", "b", "c"]
    assert recent.since("room", 101) == ["b", "c"]
    assert recent.since("room", 105) == []
    assert recent.last_position("room") == 105


def test_two_changes_at_one_position_are_both_kept() -> None:
    recent = changes(100)
    recent.add("room", 101, "a")
    recent.add("room", 101, "b")
    assert recent.since("room", 100) == ["a", "b"]


def test_what_the_database_said_is_remembered() -> None:
    recent = changes(100)
    recent.learn("room", 7)
    assert recent.last_position("room") == 7
    assert recent.since("room", 7) == []
    assert recent.since("room", 6) is None
    recent.add("room", 101, "a")
    assert recent.since("room", 100) == ["a"]
    assert recent.since("room", 50) is None


def test_the_database_does_not_overrule_what_happened_meanwhile() -> None:
    recent = changes(100)
    recent.add("room", 101, "a")
    recent.learn("room", 7)
    assert recent.last_position("room") == 101


def test_a_busy_key_forgets_its_oldest_changes_only() -> None:
    recent = changes(0, per_key=4)
    for position in range(1, 11):
        recent.add("room", position, str(position))
    assert recent.since("room", 0) is None
    assert recent.since("room", 9) == ["10"]
    assert recent.since("room", 8) == ["9", "10"]


def test_the_key_that_changed_longest_ago_is_forgotten_first() -> None:
    recent = changes(0, entries=6)
    for position, key in enumerate(("a", "b", "c", "d"), start=1):
        recent.add(key, position, key)
    assert recent.since("a", 0) is None
    assert recent.last_position("a") >= 1
    assert recent.since("d", 3) == ["d"]


def test_it_never_says_nothing_where_something_was() -> None:
    dice = random.Random(7)
    recent = changes(0, per_key=5, entries=20)
    truth: list[tuple[int, str]] = []
    for position in range(1, 600):
        key = dice.choice("abcdefgh")
        recent.add(key, position, str(position))
        truth.append((position, key))
        asked, since = dice.choice("abcdefgh"), dice.randrange(position + 1)
        expected = [str(p) for p, k in truth if k == asked and p > since]
        answer = recent.since(asked, since)
        assert answer is None or answer == expected
        assert recent.last_position(asked) >= max((p for p, k in truth if k == asked), default=0)
