"""Two servers and a room that they share."""

from typing import NamedTuple

import pytest

from tests.support.federation import Federation
from tests.support.people import Person


class Shared(NamedTuple):
    """Alice of `one` made the room, Bob of `two` is in it."""

    federation: Federation
    alice: Person
    bob: Person
    room: str


@pytest.fixture
def shared(federation: Federation) -> Shared:
    return share(federation)


def share(federation: Federation, **wishes: object) -> Shared:
    """With a room as wished."""
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = alice.create_room(preset="public_chat", **wishes)
    federation.join(bob, room, via="one")
    federation.settle()
    return Shared(federation, alice, bob, room)
