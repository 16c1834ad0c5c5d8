"""The rooms that two people are both in.

https://spec.matrix.org/latest/client-server-api/#mutual-rooms
"""

from typing import Any

import pytest

from homeserver.api.client import membership
from tests.support.people import V1, Person


def mutual_rooms(person: Person, other: str, *, refused: str | None = None, **query: Any) -> Any:
    return person.ask("GET", f"{V1}/mutual_rooms", user_id=other, refused=refused, **query)


def test_mutual_rooms_are_those_that_both_are_in(alice: Person, bob: Person, carol: Person) -> None:
    shared = sorted([alice.create_room(members=[bob]), bob.create_room(members=[alice])])
    alice.create_room(members=[carol], invite=[bob.user_id])
    left = alice.create_room(members=[bob])
    bob.leave(left)
    assert mutual_rooms(alice, bob.user_id) == {"joined": shared, "count": 2}
    assert mutual_rooms(alice, "@nobody:test") == {"joined": [], "count": 0}
    assert mutual_rooms(alice, "@nobody:elsewhere") == {"joined": [], "count": 0}


def test_mutual_rooms_are_with_somebody_else(alice: Person) -> None:
    mutual_rooms(alice, alice.user_id, refused="M_INVALID_PARAM")
    mutual_rooms(alice, "bob", refused="M_INVALID_PARAM")
    mutual_rooms(alice, "@bob:test", **{"from": "?"}, refused="M_INVALID_PARAM")
    alice.ask("GET", f"{V1}/mutual_rooms", refused="M_MISSING_PARAM")


def test_many_mutual_rooms_come_in_pages(alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MOST_MUTUAL", 2)
    shared = sorted(alice.create_room(members=[bob]) for _ in range(3))
    first = mutual_rooms(alice, bob.user_id)
    rest = mutual_rooms(alice, bob.user_id, **{"from": first["next_batch"]})
    assert (first["joined"], first["count"]) == (shared[:2], 3)
    assert rest == {"joined": shared[2:], "count": 3}
