"""The first sync, and what is the same in every sync: sections, summaries, counts, shapes.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync
"""

from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


def limited_to(limit: int) -> dict[str, Any]:
    return {"room": {"timeline": {"limit": limit}}}


def test_a_newcomer_has_no_rooms(alice: Person) -> None:
    synced = alice.sync()
    assert "rooms" not in synced.json or synced.joined == {}
    assert "m.push_rules" in synced.account_data


def test_a_first_sync_answers_at_once(alice: Person) -> None:
    assert alice.start_sync(timeout_ms=30_000).is_done


def test_state_and_timeline_together_are_the_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="Den")
    alice.send_many(room, "abcdefghijkl")
    synced = bob.sync()
    assert synced.texts(room) == list("cdefghijkl")
    assert synced.is_limited(room)
    expected = {key: event["event_id"] for key, event in bob.state(room).items()}
    assert {key: event["event_id"] for key, event in synced.known_state(room).items()} == expected


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 8, 100])
def test_state_is_that_before_the_timeline(each_server: WholeServer, limit: int) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    for number in range(4):
        alice.set_state(room, "m.room.name", {"name": str(number)})
        alice.send(room)
    for _ in range(2):
        synced = alice.sync(since=None, filter=limited_to(limit))
        assert len(synced.timeline(room)) == min(limit, 14)
        assert synced.is_limited(room) == (limit < 14)
        assert synced.known_state(room)["m.room.name", ""]["content"] == {"name": "3"}
        in_state = synced.state(room).get(("m.room.name", ""), {}).get("content", {}).get("name")
        assert in_state == {0: "3", 1: "3", 2: "2", 5: "1", 8: None, 100: None}[limit]
        each_server.restart()


def test_events_have_the_form_of_sync(alice: Person, time: FakeClock) -> None:
    room = alice.create_room(name="Den")
    event_id = alice.send(room, "hello", txn_id="txn")
    time.advance(3)
    event = alice.sync().timeline(room)[-1]
    assert event == {
        "event_id": event_id,
        "type": "m.room.message",
        "sender": alice.user_id,
        "origin_server_ts": time.now_ms() - 3_000,
        "content": {"msgtype": "m.text", "body": "hello"},
        "unsigned": {"age": 3_000, "transaction_id": "txn", "membership": "join"},
    }
    assert "room_id" not in alice.sync(since=None, filter=limited_to(0)).state(room)["m.room.name", ""]


def test_events_tell_ones_membership_at_the_time(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    alice.send(room, "before")
    bob.join(room)
    alice.send(room, "after")
    memberships = [event["unsigned"].get("membership") for event in bob.sync().timeline(room)]
    assert memberships[-2:] == ["join", "join"]
    assert set(memberships[:-2]) <= {None, "leave"}


def test_many_rooms(each_server: WholeServer) -> None:
    alice = each_server.register("alice")
    rooms = {alice.create_room(name=str(number)): str(number) for number in range(60)}
    for room, name in rooms.items():
        alice.send(room, name)
    for _ in range(2):
        synced = alice.sync(since=None, filter=limited_to(1))
        assert {room: synced.texts(room)[0] for room in synced.joined} == rooms
        assert {
            room: synced.state(room)["m.room.name", ""]["content"]["name"] for room in synced.joined
        } == rooms
        each_server.restart()


# Summaries


def test_summary_counts_and_names_the_others(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob], invite=[carol.user_id])
    summary = alice.sync().summary(room)
    assert set(summary.pop("m.heroes")) == {bob.user_id, carol.user_id}
    assert summary == {"m.joined_member_count": 2, "m.invited_member_count": 1}


def test_named_rooms_need_no_heroes(alice: Person, bob: Person) -> None:
    named = alice.create_room(members=[bob], name="Den")
    aliased = alice.create_room(members=[bob], room_alias_name="den")
    unnamed = alice.create_room(members=[bob], name="")
    synced = alice.sync()
    assert not synced.summary(named).get("m.heroes")
    assert not synced.summary(aliased).get("m.heroes")
    assert synced.summary(unnamed)["m.heroes"] == [bob.user_id]


def test_at_most_five_heroes(server: WholeServer, alice: Person) -> None:
    others = [server.register(f"user{number}") for number in range(7)]
    room = alice.create_room(members=others)
    heroes = alice.sync().summary(room)["m.heroes"]
    assert len(heroes) == 5
    assert alice.user_id not in heroes


def test_heroes_of_a_deserted_room_are_those_who_left(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob, carol])
    bob.leave(room)
    assert alice.sync(since=None).summary(room)["m.heroes"] == [carol.user_id]
    alice.ban(room, carol)
    assert set(alice.sync(since=None).summary(room)["m.heroes"]) == {bob.user_id, carol.user_id}


def test_a_summary_comes_again_when_it_changed(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.sync()
    alice.send(room)
    assert alice.sync().summary(room) == {}
    alice.invite(room, carol)
    assert alice.sync().summary(room)["m.invited_member_count"] == 1
    carol.join(room)
    summary = alice.sync().summary(room)
    assert (summary["m.joined_member_count"], summary["m.invited_member_count"]) == (3, 0)


# Counts


def test_messages_of_others_are_counted_until_read(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.sync()
    ids = alice.send_many(room, "abc")
    assert bob.sync().unread(room) == (3, 0)
    mention = {"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [bob.user_id]}}
    alice.send(room, mention)
    assert bob.sync().unread(room) == (4, 1)
    bob.read(room, ids[1])
    assert bob.sync().unread(room) == (2, 1)
    assert alice.sync(since=None).unread(room) == (0, 0)


def test_counts_survive_a_restart(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob])
    ids = alice.send_many(room, "abcd")
    bob.read(room, ids[0])
    each_server.restart()
    assert bob.sync(since=None).unread(room) == (3, 0)


def test_ones_own_message_reads_the_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.send_many(room, "abc")
    bob.send(room, "answer")
    assert bob.sync().unread(room) == (0, 0)


def test_threads_are_counted_apart_when_asked(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    root = alice.send(room, "root")
    alice.reply_in_thread(room, root, "reply")
    alice.reply_in_thread(room, root, "again")
    apart = bob.sync(since=None, filter={"room": {"timeline": {"unread_thread_notifications": True}}})
    assert apart.unread(room) == (1, 0)
    assert apart.room(room)["unread_thread_notifications"] == {
        root: {"notification_count": 2, "highlight_count": 0}
    }
    together = bob.sync(since=None)
    assert together.unread(room) == (3, 0)
    assert "unread_thread_notifications" not in together.room(room)


# What belongs to the user


def test_account_data_and_tags_come_along(alice: Person) -> None:
    room = alice.create_room()
    alice.put_account_data("org.example.global", {"a": 1})
    alice.put_account_data("org.example.room", {"b": 2}, room=room)
    alice.ask("PUT", path("user", alice.user_id, "rooms", room, "tags", "m.favourite"), {"order": 0.5})
    synced = alice.sync()
    assert synced.account_data["org.example.global"] == {"a": 1}
    assert synced.room_account_data(room) == {
        "org.example.room": {"b": 2},
        "m.tag": {"tags": {"m.favourite": {"order": 0.5}}},
    }


def test_receipts_and_typing_come_along(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room)
    bob.read(room, event_id)
    bob.start_typing(room)
    synced = alice.sync()
    assert set(synced.receipts(room)[event_id]["m.read"]) == {bob.user_id}
    assert synced.typing(room) == {bob.user_id}


def test_private_receipts_are_told_to_their_owner_only(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room)
    bob.read(room, event_id, receipt="m.read.private")
    assert alice.sync().receipts(room) == {}
    assert set(bob.sync().receipts(room)[event_id]["m.read.private"]) == {bob.user_id}


@pytest.mark.parametrize(
    "query",
    [
        {"since": "x"},
        {"since": "s"},
        {"since": "s-1"},
        {"since": "t1-1"},
        {"since": "s" + "9" * 40},
        {"timeout": "-1"},
        {"timeout": "soon"},
        {"full_state": "maybe"},
        {"set_presence": "asleep"},
        {"filter": "{"},
        {"filter": '{"room": 1}'},
        {"filter": '{"event_fields": 1}'},
    ],
)
def test_bad_queries_are_refused(alice: Person, query: dict[str, Any]) -> None:
    answer = alice.request("GET", "/sync", **query)
    assert answer.status == 400, answer.json
    assert answer.errcode in ("M_INVALID_PARAM", "M_BAD_JSON", "M_NOT_JSON")


def test_a_filter_that_was_never_stored_is_refused(alice: Person) -> None:
    assert alice.request("GET", "/sync", filter="999").status in (400, 404)


def test_sync_needs_a_token(server: WholeServer) -> None:
    assert server.request("GET", "/sync").errcode == "M_MISSING_TOKEN"
