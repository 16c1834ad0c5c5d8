"""Two servers share a room: joins, messages, forks, gaps."""

import pytest

from tests.support.federation import Federation


@pytest.mark.parametrize("version", ["1", "2", "3", "6", "9", "10", "11", "12"])
def test_a_room_is_joined_and_both_talk(federation: Federation, version: str) -> None:
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = alice.create_room(preset="public_chat", room_version=version)
    alice.send(room, "before")

    federation.join(bob, room, via="one")
    alice.send(room, "from one")
    federation.settle()
    bob.send(room, "from two")
    federation.settle()

    assert bob.sync().texts(room) == ["from one", "from two"]
    assert alice.sync().texts(room)[-2:] == ["from one", "from two"]
    assert federation.state_of(room, "one") == federation.state_of(room, "two")
    for name in ("one", "two"):
        federation.check_memory(room, name)
