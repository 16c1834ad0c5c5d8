"""Filters of /sync: what comes, and which members come along.

https://spec.matrix.org/latest/client-server-api/#filtering
"""

from typing import Any

import pytest

from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


def test_a_stored_filter_works_like_one_given(each_server: WholeServer) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    alice.send_many(room, "abc")
    wanted = {"room": {"timeline": {"limit": 2}}}
    filter_id = alice.ask("POST", path("user", alice.user_id, "filter"), wanted)["filter_id"]
    for _ in range(2):
        assert alice.sync(since=None, filter=filter_id).texts(room) == ["b", "c"]
        assert alice.sync(since=None, filter=wanted).texts(room) == ["b", "c"]
        each_server.restart()


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        ({"types": ["m.room.message"]}, ["a", "b"]),
        ({"types": ["org.*"]}, ["c"]),
        ({"not_types": ["m.room.*"]}, ["c"]),
        ({"types": []}, []),
        ({"senders": ["@bob:test"], "types": ["m.room.message"]}, ["b"]),
        ({"not_senders": ["@bob:test"]}, ["a", "c"]),
        ({"rooms": []}, []),
        ({"limit": 1}, ["c"]),
    ],
)
def test_timelines_are_filtered(alice: Person, bob: Person, timeline: Any, expected: list[str]) -> None:
    room = alice.create_room(members=[bob])
    since = alice.sync().next_batch
    alice.send(room, "a")
    bob.send(room, "b")
    alice.send(room, {"body": "c"}, type_="org.example")
    assert alice.sync(since=since, filter={"room": {"timeline": timeline}}).texts(room) == expected
    assert alice.sync(since=None, filter={"room": {"timeline": timeline}}).texts(room) == expected


def test_the_limit_counts_what_the_filter_takes(alice: Person) -> None:
    room = alice.create_room()
    since = alice.sync().next_batch
    for number in range(30):
        alice.send(room, str(number), type_="m.room.message" if number % 5 == 0 else "org.example")
    timeline = {"types": ["m.room.message"], "limit": 3}
    synced = alice.sync(since=since, filter={"room": {"timeline": timeline}})
    assert (synced.texts(room), synced.is_limited(room)) == (["15", "20", "25"], True)
    timeline["limit"] = 6
    synced = alice.sync(since=since, filter={"room": {"timeline": timeline}})
    assert (synced.texts(room), synced.is_limited(room)) == (["0", "5", "10", "15", "20", "25"], False)


def test_a_rare_type_is_found_far_back(alice: Person) -> None:
    room = alice.create_room()
    since = alice.sync().next_batch
    alice.send(room, {"body": "rare"}, type_="org.example.rare")
    alice.send_many(room, map(str, range(150)))
    wanted = {"room": {"timeline": {"types": ["org.example.rare"], "limit": 5}}}
    synced = alice.sync(since=since, filter=wanted)
    assert synced.texts(room) == ["rare"]
    assert not synced.is_limited(room)


def test_state_is_filtered(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="Den")
    state = {"types": ["m.room.member", "m.room.name"], "not_senders": [bob.user_id]}
    synced = alice.sync(filter={"room": {"state": state, "timeline": {"limit": 0}}})
    assert set(synced.state(room)) == {("m.room.member", alice.user_id), ("m.room.name", "")}


@pytest.mark.parametrize("since", ["here", "nowhere"])
@pytest.mark.parametrize("limit", [1, 100])
def test_state_left_out_of_the_timeline_comes_as_state(alice: Person, since: str, limit: int) -> None:
    room = alice.create_room(name="old")
    token = alice.sync().next_batch if since == "here" else None
    alice.send(room, "a")
    alice.set_state(room, "m.room.name", {"name": "new"})
    alice.send(room, "b")
    wanted = {"room": {"timeline": {"types": ["m.room.message"], "limit": limit}}}
    synced = alice.sync(since=token, filter=wanted)
    assert synced.texts(room) == ["a", "b"][-limit:]
    assert synced.state(room)["m.room.name", ""]["content"] == {"name": "new"}
    assert (("m.room.create", "") in synced.state(room)) is (token is None)


@pytest.mark.parametrize("part", [{"rooms": ["{room}"]}, {"not_rooms": ["{other}"]}])
def test_rooms_are_filtered(alice: Person, bob: Person, part: dict[str, list[str]]) -> None:
    room, other = alice.create_room(members=[bob]), alice.create_room(members=[bob])
    wanted = {
        "room": {key: [one.format(room=room, other=other) for one in rooms] for key, rooms in part.items()}
    }
    assert set(alice.sync(since=None, filter=wanted).joined) == {room}
    alice.send(other)
    assert alice.sync(filter=wanted).is_empty
    alice.send(room)
    assert set(alice.sync(filter=wanted).joined) == {room}


def test_ephemeral_events_and_account_data_are_filtered(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room)
    bob.read(room, event_id)
    bob.start_typing(room)
    alice.put_account_data("org.example.a", {"a": 1})
    alice.put_account_data("org.example.b", {"b": 1})
    alice.put_account_data("org.example.a", {"a": 1}, room=room)
    alice.put_account_data("org.example.b", {"b": 1}, room=room)
    wanted = {
        "account_data": {"types": ["org.example.a"]},
        "room": {"ephemeral": {"types": ["m.typing"]}, "account_data": {"not_types": ["org.example.a"]}},
    }
    synced = alice.sync(filter=wanted)
    assert (synced.typing(room), synced.receipts(room)) == ({bob.user_id}, {})
    assert set(synced.account_data) == {"org.example.a"}
    assert set(synced.room_account_data(room)) == {"org.example.b"}
    nothing = {
        "account_data": {"types": []},
        "room": {"ephemeral": {"types": []}, "account_data": {"types": []}},
    }
    synced = alice.sync(since=None, filter=nothing)
    assert (synced.typing(room), synced.account_data, synced.room_account_data(room)) == (set(), {}, {})


def test_parts_of_rooms_can_be_filtered_by_room(alice: Person, bob: Person) -> None:
    room, other = alice.create_room(members=[bob]), alice.create_room(members=[bob])
    for one in (room, other):
        bob.read(one, bob.send(one))
        bob.start_typing(one)
        alice.put_account_data("org.example", {}, room=one)
    only = {"rooms": [room]}
    synced = alice.sync(filter={"room": {"timeline": only, "ephemeral": only, "account_data": only}})
    assert (synced.texts(room), synced.typing(room)) == (["hello"], {bob.user_id})
    assert synced.receipts(room)
    assert synced.room_account_data(room)
    assert (synced.texts(other), synced.typing(other), synced.receipts(other)) == ([], set(), {})
    assert not synced.room_account_data(other)


def test_unknown_parts_of_filters_are_taken(alice: Person) -> None:
    alice.create_room()
    assert alice.request("GET", "/sync", filter='{"org.example": {"a": 1}}').status == 200


def test_events_are_cut_down_to_the_fields_asked_for(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.send(room, "hello")
    alice.put_account_data("org.example", {"a": 1})
    fields = ["type", "content.body", "unsigned.age"]
    synced = alice.sync(since=None, filter={"event_fields": fields, "room": {"timeline": {"limit": 1}}})
    [message] = synced.timeline(room)
    assert message == {"type": "m.room.message", "content": {"body": "hello"}, "unsigned": {"age": 0}}
    state = synced.room(room)["state"]["events"]
    assert {"type": "m.room.create", "unsigned": {"age": 0}} in state
    assert all(set(event) <= {"type", "content", "unsigned"} for event in state)
    assert {"type": "org.example", "content": {"a": 1}} in synced.json["account_data"]["events"]


@pytest.mark.parametrize("version", ["1", "12"])
def test_events_come_as_servers_have_them(alice: Person, version: str) -> None:
    room = alice.create_room(room_version=version, name="Den")
    event_id = alice.send(room, "hello", txn_id="txn")
    synced = alice.sync(since=None, filter={"event_format": "federation"})
    message = synced.timeline(room)[-1]
    assert {"auth_events", "prev_events", "hashes", "signatures", "depth", "room_id"} <= set(message)
    assert message["content"]["body"] == "hello"
    assert message["unsigned"]["transaction_id"] == "txn"
    assert ("event_id" in message) is (version == "1")
    assert alice.sync(since=None).ids(room)[-1] == event_id
    assert alice.sync(filter={"event_format": "federation"}).is_empty
