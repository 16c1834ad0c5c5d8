"""Rooms one is not in: invites, knocks, rooms left.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync
"""

from typing import Any

import pytest

from tests.support.people import Person
from tests.support.whole_server import WholeServer

WITH_LEFT: dict[str, Any] = {"room": {"include_leave": True}}
KNOCKABLE = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}


# Invites


def test_an_invite_tells_what_an_outsider_may_know(alice: Person, bob: Person) -> None:
    room = alice.create_room(
        name="Den",
        topic="Talk",
        room_alias_name="den",
        invite=[bob.user_id],
        initial_state=[
            {"type": "m.room.avatar", "content": {"url": "mxc://test/den"}},
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "org.example.secret", "content": {"a": 1}},
        ],
    )
    state = bob.sync().invite_state(room)
    assert set(state) == {
        ("m.room.create", ""),
        ("m.room.join_rules", ""),
        ("m.room.name", ""),
        ("m.room.topic", ""),
        ("m.room.avatar", ""),
        ("m.room.canonical_alias", ""),
        ("m.room.encryption", ""),
        ("m.room.member", alice.user_id),
        ("m.room.member", bob.user_id),
    }
    for event in state.values():
        assert {"type", "state_key", "sender", "content"} <= set(event)
    assert state["m.room.member", bob.user_id]["sender"] == alice.user_id
    assert state["m.room.name", ""]["content"] == {"name": "Den"}


def test_an_invite_comes_once_and_again_in_first_syncs(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    bob.sync()
    room = alice.create_room(invite=[bob.user_id])
    assert set(bob.sync().invites) == {room}
    assert bob.sync().is_empty
    each_server.restart()
    assert bob.sync().is_empty
    assert set(bob.sync(since=None).invites) == {room}


def test_an_accepted_invite_is_a_joined_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    bob.sync()
    bob.join(room)
    synced = bob.sync()
    assert (set(synced.joined), synced.invites) == ({room}, {})


def test_an_invite_turned_down_is_a_left_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(name="secret", invite=[bob.user_id])
    bob.sync()
    bob.leave(room)
    synced = bob.sync()
    assert synced.invites == {}
    assert [event["content"] for event in synced.timeline(room)] == [{"membership": "leave"}]
    assert synced.state(room) == {}
    assert bob.sync().is_empty


def test_an_invite_taken_back_is_a_left_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    bob.sync()
    alice.kick(room, bob)
    synced = bob.sync()
    assert (synced.invites, set(synced.left)) == ({}, {room})
    alice.invite(room, bob)
    assert set(bob.sync().invites) == {room}


def test_what_happens_in_the_room_does_not_reach_the_invited(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    bob.sync()
    alice.send(room)
    alice.set_state(room, "m.room.name", {"name": "Den"})
    assert bob.sync().is_empty


# Knocks


def test_a_knock_shows_what_an_outsider_may_know(alice: Person, bob: Person) -> None:
    room = alice.create_room(name="Den", initial_state=[KNOCKABLE])
    bob.sync()
    alice.sync()
    bob.knock(room)
    synced = bob.sync()
    assert set(synced.knocks) == {room}
    state = synced.invite_state(room)
    assert state["m.room.name", ""]["content"] == {"name": "Den"}
    assert state["m.room.member", bob.user_id]["content"]["membership"] == "knock"
    assert [event["content"]["membership"] for event in alice.sync().timeline(room)] == ["knock"]
    assert bob.sync().is_empty
    assert set(bob.sync(since=None).knocks) == {room}


def test_a_knock_ends_in_an_invite_or_outside(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(initial_state=[KNOCKABLE])
    for person in (bob, carol):
        person.knock(room)
        person.sync()
    alice.invite(room, bob)
    alice.kick(room, carol)
    assert (set(bob.sync().invites), bob.sync(since=None).knocks) == ({room}, {})
    assert (set(carol.sync().left), carol.sync(since=None).knocks) == ({room}, {})


# Rooms left


def test_a_room_left_comes_once(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob])
    bob.sync()
    alice.send(room, "last words")
    bob.leave(room)
    alice.send(room, "behind your back")
    token = bob.next_batch
    for _ in range(2):
        synced = bob.sync(since=token)
        assert (set(synced.left), synced.joined) == ({room}, {})
        assert synced.texts(room) == ["last words"]
        assert synced.timeline(room)[-1]["content"] == {"membership": "leave"}
        assert synced.state(room) == {}
        assert bob.sync().is_empty
        each_server.restart()


def test_what_happens_after_does_not_come(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.leave(room)
    bob.sync()
    alice.send(room)
    alice.set_state(room, "m.room.name", {"name": "Den"})
    assert bob.sync().is_empty
    assert room not in bob.sync(since=None).left


def test_first_syncs_bring_rooms_left_when_asked(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="then")
    alice.send(room, "last words")
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "now"})
    alice.set_state(room, "m.room.topic", {"topic": "new"})
    assert bob.sync(since=None).left == {}
    for limit in (1, 3, 100):
        wanted = {"room": {**WITH_LEFT["room"], "timeline": {"limit": limit}}}
        known = bob.sync(since=None, filter=wanted).known_state(room)
        assert known["m.room.name", ""]["content"] == {"name": "then"}
        assert ("m.room.topic", "") not in known
        assert known["m.room.member", bob.user_id]["content"]["membership"] == "leave"
        assert ("m.room.create", "") in known


def test_state_after_of_a_room_left_is_that_at_the_going(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="then")
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "now"})
    state = bob.sync(since=None, filter=WITH_LEFT, use_state_after=True).state_after(room)
    assert state["m.room.name", ""]["content"] == {"name": "then"}
    assert state["m.room.member", bob.user_id]["content"]["membership"] == "leave"


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_gap_before_the_going_has_its_state(alice: Person, bob: Person, limit: int) -> None:
    room = alice.create_room(members=[bob])
    bob.sync()
    alice.set_state(room, "m.room.name", {"name": "in the gap"})
    alice.send_many(room, "abcdef")
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "after"})
    synced = bob.sync(filter={"room": {"timeline": {"limit": limit}}})
    assert synced.is_limited(room)
    assert {key: event["content"] for key, event in synced.state(room).items()} == {
        ("m.room.name", ""): {"name": "in the gap"}
    }
    assert bob.messages(room, start=synced.prev_batch(room), limit=1).texts == ["fedcba"[limit - 1]]


def test_coming_and_going_between_syncs(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", name="Den")
    bob.sync()
    bob.join(room)
    alice.send(room, "hello")
    bob.leave(room)
    alice.send(room, "behind your back")
    synced = bob.sync()
    assert synced.texts(room) == ["hello"]
    known = synced.known_state(room)
    assert known["m.room.name", ""]["content"] == {"name": "Den"}
    assert known["m.room.member", bob.user_id]["content"]["membership"] == "leave"


@pytest.mark.parametrize("visibility", ["joined", "invited", "shared", "world_readable"])
def test_ones_own_going_is_told_whatever_the_history_visibility(
    alice: Person, bob: Person, visibility: str
) -> None:
    setting = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
    room = alice.create_room(members=[bob], initial_state=[setting])
    bob.sync()
    alice.kick(room, bob, reason="noise")
    alice.ban(room, bob)
    synced = bob.sync()
    assert synced.timeline(room)[-1]["content"] == {"membership": "ban"}
    assert bob.sync().is_empty


def test_a_ban_after_leaving_is_told_without_the_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.leave(room)
    bob.sync()
    alice.set_state(room, "m.room.name", {"name": "behind your back"})
    alice.send(room, "behind your back")
    alice.ban(room, bob)
    synced = bob.sync()
    assert [event["content"] for event in synced.timeline(room)] == [{"membership": "ban"}]
    assert synced.state(room) == {}


def test_an_invite_turned_down_later_tells_nothing_of_the_time_between(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="then")
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "now"})
    alice.send(room, "behind your back")
    alice.invite(room, bob)
    bob.leave(room)
    synced = bob.sync(since=None, filter=WITH_LEFT)
    assert synced.texts(room) == []
    assert "now" not in str(synced.json)


def test_forgotten_rooms_do_not_come(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.sync()
    bob.leave(room)
    bob.forget(room)
    assert bob.sync(since=None, filter=WITH_LEFT).left == {}


def test_lists_of_left_rooms_obey_the_filter(alice: Person, bob: Person) -> None:
    room, other = alice.create_room(members=[bob]), alice.create_room(members=[bob])
    bob.leave(room)
    bob.leave(other)
    wanted = {"room": {**WITH_LEFT["room"], "rooms": [room]}}
    assert set(bob.sync(since=None, filter=wanted).left) == {room}
