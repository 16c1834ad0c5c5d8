"""Rows of the database that were damaged: what they held is left out, said once, and nothing else suffers.

The lesson of CVE-2024-52815: one malformed event must not keep anybody from syncing or paging.
"""

import logging
from typing import Any

import pytest

from homeserver.protocol.ids import UserId
from homeserver.storage.accounts import AccountStore
from tests.support.people import Person, path
from tests.support.running import result
from tests.support.whole_server import WholeServer

GARBAGE = [
    b"\x00\xff garbage",
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"type": "m.room.message", "sender": "@a:test", "content": [], "depth": 1, "origin_server_ts": 1}',
    b'{"type": 5, "sender": "@a:test", "content": {}, "depth": 1, "origin_server_ts": 1}',
    b'{"type": "m", "sender": "@a:test", "content": {}, "depth": null, "origin_server_ts": 1}',
    b'{"type": "m", "sender": "@a:test", "content": {}, "depth": 1, "origin_server_ts": 1, "state_key": 5}',
    b"[" * 5000,
]


def damage(server: WholeServer, event_id: str, raw: bytes = GARBAGE[0]) -> None:
    """Overwrite the JSON of a stored event, and give the server a memory without it."""
    sql = "UPDATE events SET raw = %s WHERE event_id = %s"
    assert result(server.database.write(lambda txn: txn.execute(sql, (raw, event_id)))) == 1
    server.restart()


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in events if "body" in event["content"]]


@pytest.fixture
def ann(each_server: WholeServer) -> Person:
    return each_server.register("ann")


@pytest.fixture
def ben(each_server: WholeServer) -> Person:
    return each_server.register("ben")


@pytest.mark.parametrize("raw", GARBAGE)
def test_a_damaged_message_is_left_out_of_sync_and_pages(
    server: WholeServer, alice: Person, bob: Person, raw: bytes
) -> None:
    room, other = alice.create_room([bob]), alice.create_room([bob])
    ids = alice.send_many(room, ["one", "two", "three"])
    alice.send(other, "elsewhere")
    bob.sync()
    damage(server, ids[1], raw)

    synced = bob.sync(since=None)
    assert texts(synced.timeline(room)) == ["one", "three"]
    assert texts(synced.timeline(other)) == ["elsewhere"]
    assert bob.messages(room).texts == ["three", "one"]
    assert bob.messages(room, dir="f").texts == ["one", "three"]
    bob.event(room, ids[1], refused="M_NOT_FOUND")
    context = bob.context(room, ids[0], limit=10)
    assert texts(context["events_after"]) == ["three"]
    alice.send(room, "four")
    assert texts(bob.sync(since=synced.next_batch).timeline(room)) == ["four"]


def test_it_is_said_once(each_server: WholeServer, ann: Person, caplog: pytest.LogCaptureFixture) -> None:
    room = ann.create_room()
    event_id = ann.send(room, "x")
    damage(each_server, event_id)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            ann.messages(room)
            ann.sync(since=None)
    [record] = caplog.records
    assert event_id in record.getMessage()
    assert "restore a backup" in record.getMessage()
    assert record.exc_info is None


def test_pages_go_on_behind_many_damaged_events(server: WholeServer, alice: Person) -> None:
    """CVE-2026-45076: a page of nothing that can be shown must not end the history."""
    room = alice.create_room()
    alice.send(room, "first")
    ids = alice.send_many(room, ["x"] * 40)
    alice.send(room, "last")
    sql = "UPDATE events SET raw = %s WHERE event_id = %s"
    for event_id in ids:
        result(server.database.write(lambda txn, one=event_id: txn.execute(sql, (b"?", one))))
    server.restart()

    synced = alice.sync(since=None, filter={"room": {"timeline": {"limit": 5}}})
    seen, token = texts(synced.timeline(room))[::-1], synced.prev_batch(room)
    assert seen[0] == "last"
    while token:
        page = alice.messages(room, start=token, limit=3)
        seen += page.texts
        token = page.end
    assert seen == ["last", "first"]


def test_what_an_undamaged_event_shows_of_damaged_ones_is_left_out(
    each_server: WholeServer, ann: Person
) -> None:
    room = ann.create_room()
    old = ann.set_state(room, "m.room.topic", {"topic": "old"})
    ann.set_state(room, "m.room.topic", {"topic": "new"})
    message = ann.send(room, "secret")
    redaction = ann.redact(room, message)
    damage(each_server, old)
    damage(each_server, redaction)

    assert ann.state_of(room, "m.room.topic") == {"topic": "new"}
    assert ann.event(room, message)["content"] == {}
    assert ann.sync(since=None).timeline(room)


def test_a_damaged_piece_of_state_is_left_out_and_keeps_others_out(
    each_server: WholeServer, ann: Person, ben: Person
) -> None:
    """Without the power levels nobody has any: not: everybody has all."""
    room, other = ann.create_room([ben]), ann.create_room([ben])
    levels = ann.state(room)["m.room.power_levels", ""]["event_id"]
    damage(each_server, levels)

    assert ("m.room.power_levels", "") not in ann.state(room)
    assert ben.sync(since=None).timeline(room)
    for person in (ann, ben):
        answer = person.request("PUT", path("rooms", room, "state", "m.room.name", ""), {"name": "mine"})
        assert (answer.status, answer.errcode) == (500, "M_UNKNOWN")
        assert "restore the database from a backup" in answer.json["error"]
    ann.send(other, "elsewhere all is well")


def test_a_damaged_membership_keeps_only_its_owner_from_acting(
    each_server: WholeServer, ann: Person, ben: Person
) -> None:
    room = ann.create_room([ben])
    member = ann.state(room)["m.room.member", ben.user_id]["event_id"]
    damage(each_server, member)

    ann.send(room, "still here")
    assert "still here" in texts(ben.sync(since=None).timeline(room))
    answer = ben.request("PUT", path("rooms", room, "send", "m.room.message", "t"), {"body": "x"})
    assert (answer.status, answer.errcode) == (500, "M_UNKNOWN")
    assert member in answer.json["error"]


def test_who_closes_their_account_leaves_all_rooms_that_can_be_left(
    each_server: WholeServer, ann: Person, ben: Person
) -> None:
    rooms = [ann.create_room([ben]) for _ in range(3)]
    ann.sync()
    damage(each_server, ann.state(rooms[0])["m.room.member", ben.user_id]["event_id"])

    result(each_server.services.accounts.deactivation.deactivate_for(UserId(ben.user_id), erase=False))
    assert [ann.membership_of(room, ben) for room in rooms[1:]] == ["leave", "leave"]
    departures = result(each_server.database.read(AccountStore().departures))
    assert [one.user_id for one in departures] == [ben.user_id], "the rest is tried at the next start"


@pytest.mark.parametrize("added", [b"\xff" * 7, b"\xff" * 32])
def test_a_damaged_state_layer_spoils_only_the_look_back_at_it(
    each_server: WholeServer, ann: Person, ben: Person, added: bytes
) -> None:
    room, other = ann.create_room([ben]), ann.create_room([ben])
    event_id = ann.send(room, "x")
    ben.leave(room)
    sql = "UPDATE state_sets SET added = %s WHERE room_nid = (SELECT nid FROM rooms WHERE room_id = %s)"
    result(each_server.database.write(lambda txn: txn.execute(sql, (added, room))))
    each_server.restart()

    answer = ann.request("GET", path("rooms", room, "context", event_id))
    assert (answer.status, answer.errcode) == (500, "M_UNKNOWN")
    assert "restore the database from a backup" in answer.json["error"]
    synced = ben.sync(since=None, filter={"room": {"include_leave": True}})
    assert synced.timeline(other)
    assert ann.messages(room).events
    ann.send(room, "messages need no look back")
