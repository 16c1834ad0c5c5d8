"""Two servers share a room: joins, messages, forks, gaps."""

import pytest

from tests.support.federation import Federation
from tests.support.people import path


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


def shared_room(federation: Federation, **wishes):
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = alice.create_room(preset="public_chat", **wishes)
    federation.join(bob, room, via="one")
    federation.settle()
    return alice, bob, room


@pytest.mark.parametrize("version", ["1", "2", "6", "11", "12"])
def test_a_partition_heals_to_one_state(federation: Federation, version: str) -> None:
    alice, bob, room = shared_room(federation, room_version=version)

    federation.part("one", "two")
    alice.send(room, "alone at one")
    alice.set_state(room, "m.room.topic", {"topic": "of one"})
    bob.send(room, "alone at two")
    bob.send(room, "still alone at two")
    bob.set_state(room, "org.example.thing", {"n": 1}, refused="M_FORBIDDEN")
    alice.send(room, "one again")
    federation.heal()

    texts = {"alone at one", "alone at two", "still alone at two", "one again"}
    assert texts <= set(bob.sync().texts(room))
    assert texts <= set(alice.sync().texts(room))
    assert federation.state_of(room, "one") == federation.state_of(room, "two")
    assert federation.accepted(room, "one") - federation.accepted(room, "two") <= set(
        federation.events_of(room, "two")
    )
    alice.send(room, "together")
    federation.settle()
    assert federation.heads_of(room, "one") == federation.heads_of(room, "two")
    assert len(federation.heads_of(room, "two")) == 1
    for name in ("one", "two"):
        federation.check_memory(room, name)


def test_a_power_fight_ends_the_same_everywhere(federation: Federation) -> None:
    alice, bob, room = shared_room(federation, room_version="11")
    alice.set_state(room, "m.room.power_levels", {"users": {alice.user_id: 100, bob.user_id: 50}})
    federation.settle()

    federation.part("one", "two")
    alice.set_state(room, "m.room.power_levels", {"users": {alice.user_id: 100, bob.user_id: 0}})
    bob.set_state(room, "m.room.power_levels", {"users": {alice.user_id: 100, bob.user_id: 50}, "ban": 20})
    bob.set_state(room, "m.room.name", {"name": "Bob's"})
    federation.heal()

    assert federation.state_of(room, "one") == federation.state_of(room, "two")
    for person in (alice, bob):
        levels = person.state_of(room, "m.room.power_levels")
        assert levels["users"][bob.user_id] == 0
        assert ("m.room.name", "") not in federation.state_of(room, "one")
    for name in ("one", "two"):
        federation.check_memory(room, name)


def test_who_is_greeted_before_the_answer_to_their_join_is_here_hears_it(federation: Federation) -> None:
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = alice.create_room(preset="public_chat")
    client = two.services.rooms.receiving._intake._fetching._remote
    send_join = client.send_join

    async def slow(*args: object, **kwargs: object) -> object:
        answer = await send_join(*args, **kwargs)
        await federation.time.sleep(3)
        return answer

    client.send_join = slow
    joining = bob.start_request("POST", path("join", room), {}, via="one")
    federation.time.advance(1)
    alice.send(room, "welcome")
    federation.time.advance(5)

    assert joining.answer.status == 200
    assert "welcome" in bob.sync(since=None).texts(room)
