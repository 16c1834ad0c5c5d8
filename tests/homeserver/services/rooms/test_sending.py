"""Sending messages and state; transaction ids.

https://spec.matrix.org/latest/client-server-api/#sending-events-to-a-room
"""

from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http import Pending
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


def put_message(person: Person, room: str, txn_id: str, text: str = "hello") -> Pending:
    body = {"msgtype": "m.text", "body": text}
    return person.start_request("PUT", path("rooms", room, "send", "m.room.message", txn_id), body)


# Messages


def test_a_message_reaches_the_room(alice: Person, bob: Person, time: FakeClock) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room, {"msgtype": "m.text", "body": "hello", "org.example": {"a": [1, None, "ü"]}})
    time.advance(2)
    event = bob.event(room, event_id)
    assert event.pop("unsigned")["age"] == 2_000
    assert event == {
        "event_id": event_id,
        "room_id": room,
        "type": "m.room.message",
        "sender": alice.user_id,
        "origin_server_ts": time.now_ms() - 2_000,
        "content": {"msgtype": "m.text", "body": "hello", "org.example": {"a": [1, None, "ü"]}},
    }


@pytest.mark.parametrize("type_", ["m.room.message", "org.example.thing", "a b/c", "ü☕", "m.room.encrypted"])
def test_types_are_what_clients_want(alice: Person, type_: str) -> None:
    room = alice.create_room()
    event_id = alice.send(room, {"a": 1}, type_=type_)
    assert alice.event(room, event_id)["type"] == type_


def test_only_members_send(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", invite=[bob.user_id])
    bob.send(room, refused="M_FORBIDDEN")
    bob.send("!nowhere:test", refused="M_FORBIDDEN")


def test_levels_say_who_sends_what(alice: Person, bob: Person) -> None:
    levels = {"events_default": 50, "events": {"org.example.open": 0}, "users": {}}
    room = alice.create_room(members=[bob], power_level_content_override=levels)
    bob.send(room, refused="M_FORBIDDEN")
    bob.send(room, {}, type_="org.example.open")
    alice.set_state(room, "m.room.power_levels", {**levels, "users": {bob.user_id: 50}})
    bob.send(room)
    alice.set_state(room, "m.room.power_levels", levels)
    bob.send(room, refused="M_FORBIDDEN")


def test_lowering_the_level_of_everybody_lowers_everybody(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], power_level_content_override={"users_default": 100})
    bob.set_state(room, "m.room.name", {"name": "Den"})
    levels = alice.state_of(room, "m.room.power_levels")
    alice.set_state(room, "m.room.power_levels", {**levels, "users_default": 40})
    bob.set_state(room, "m.room.name", {"name": "Mine"}, refused="M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"", "M_NOT_JSON"),
        (b"{", "M_NOT_JSON"),
        (b'{"a": NaN}', "M_NOT_JSON"),
        (b'{"a": Infinity}', "M_NOT_JSON"),
        (b'{"a": "\xff"}', "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b'"text"', "M_BAD_JSON"),
        (b"null", "M_BAD_JSON"),
        (b'{"a": 1.5}', "M_BAD_JSON"),
        (b'{"a": 9007199254740992}', "M_BAD_JSON"),
        (b'{"a": -9007199254740992}', "M_BAD_JSON"),
        (b'{"body": "' + b"x" * 65_000 + b'"}', "M_TOO_LARGE"),
    ],
)
def test_bad_content_is_refused(alice: Person, body: bytes, refused: str) -> None:
    room = alice.create_room()
    for target in (
        path("rooms", room, "send", "m.room.message", "txn"),
        path("rooms", room, "state", "org.example", ""),
    ):
        answer = alice.request("PUT", target, body)
        assert (answer.status, answer.errcode) == (413 if refused == "M_TOO_LARGE" else 400, refused)
    assert len(alice.messages(room, dir="f", limit=100).events) == 6


def test_content_just_small_enough_is_taken(alice: Person) -> None:
    room = alice.create_room()
    text = "x" * 64_000
    assert alice.event(room, alice.send(room, text))["content"]["body"] == text


@pytest.mark.parametrize("size", [256, 70_000])
def test_types_and_state_keys_have_255_bytes(alice: Person, size: int) -> None:
    room = alice.create_room()
    alice.send(room, {}, type_="x" * 255)
    alice.send(room, {}, type_="x" * size, refused="M_TOO_LARGE")
    alice.set_state(room, "org.example", {}, state_key="ü" * 127)
    alice.set_state(room, "org.example", {}, state_key="ü" * (size // 2), refused="M_TOO_LARGE")


# State


def test_state_stands_until_replaced(alice: Person) -> None:
    room = alice.create_room()
    first = alice.set_state(room, "m.room.name", {"name": "Den"})
    second = alice.set_state(room, "m.room.name", {"name": "Study"})
    assert first != second
    event = alice.state_of(room, "m.room.name", format="event")
    assert (event["event_id"], event["content"]) == (second, {"name": "Study"})
    assert event["unsigned"]["replaces_state"] == first
    assert event["unsigned"]["prev_content"] == {"name": "Den"}


def test_the_same_state_twice_is_one_event(alice: Person) -> None:
    room = alice.create_room()
    first = alice.set_state(room, "m.room.name", {"name": "Den"})
    assert alice.set_state(room, "m.room.name", {"name": "Den"}) == first


def test_state_keys_may_be_left_out_or_anything(alice: Person) -> None:
    room = alice.create_room()
    for target in ("/state/org.example", "/state/org.example/", "/state/org.example/a%2Fb"):
        alice.ask("PUT", path("rooms", room) + target, {"at": target})
        assert alice.ask("GET", path("rooms", room) + target) == {"at": target}
    alice.ask("GET", path("rooms", room) + "/state/org.example/other", refused="M_NOT_FOUND")
    alice.ask("PUT", path("rooms", room) + "/state/org.example/%00", {}, refused="M_INVALID_PARAM")


def test_state_keys_that_name_users_are_theirs(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], power_level_content_override={"state_default": 0})
    bob.set_state(room, "org.example", {}, state_key=bob.user_id)
    bob.set_state(room, "org.example", {}, state_key=alice.user_id, refused="M_FORBIDDEN")


def test_a_room_has_one_create_event(alice: Person) -> None:
    room = alice.create_room()
    alice.set_state(room, "m.room.create", {"room_version": "12"}, refused="M_FORBIDDEN")
    alice.set_state(room, "m.room.create", {}, state_key="other", refused="M_FORBIDDEN")
    alice.send(room, {}, type_="m.room.create", refused="M_FORBIDDEN")


def test_moderators_set_state(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.set_state(room, "m.room.name", {"name": "mine"}, refused="M_FORBIDDEN")
    bob.set_state("!nowhere:test", "m.room.name", {"name": "mine"}, refused="M_FORBIDDEN")


@pytest.mark.parametrize(
    "content",
    [
        {"users": {"@alice:test": 100, "@bob:test": "50"}},
        {"users": {"bob": 50}},
        {"users_default": 1.5},
        {"events": []},
        {"ban": None},
    ],
)
def test_malformed_levels_are_refused(alice: Person, content: dict[str, Any]) -> None:
    room = alice.create_room(room_version="11")
    answer = alice.request("PUT", path("rooms", room, "state", "m.room.power_levels", ""), content)
    assert answer.errcode in ("M_FORBIDDEN", "M_BAD_JSON")


def test_nobody_gives_more_power_than_they_have(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], room_version="11")
    levels = alice.state_of(room, "m.room.power_levels")
    levels["users"][bob.user_id] = 100
    alice.set_state(room, "m.room.power_levels", levels)
    levels["users"][alice.user_id] = 50
    bob.set_state(room, "m.room.power_levels", levels, refused="M_FORBIDDEN")
    levels["users"].update({alice.user_id: 100, bob.user_id: 50})
    bob.set_state(room, "m.room.power_levels", levels)
    levels["users"][bob.user_id] = 51
    bob.set_state(room, "m.room.power_levels", levels, refused="M_FORBIDDEN")


def test_access_lists_that_shut_everybody_out_are_refused(alice: Person) -> None:
    room = alice.create_room()
    alice.set_state(room, "m.room.server_acl", {"allow": []}, refused="M_BAD_JSON")
    alice.set_state(room, "m.room.server_acl", {"allow": "*"}, refused="M_BAD_JSON")
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "deny": ["evil.example"]})


# Transaction ids


def test_a_repeated_request_gives_the_same_event(alice: Person) -> None:
    room = alice.create_room()
    first = alice.send(room, "once", txn_id="txn")
    assert alice.send(room, "once", txn_id="txn") == first
    assert alice.messages(room, limit=2).texts == ["once"]


def test_a_repeated_request_gives_the_same_event_after_a_restart(each_server: WholeServer) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    first = alice.send(room, "once", txn_id="txn 1/ü")
    redaction = alice.redact(room, first, txn_id="txn 1/ü")
    each_server.restart()
    assert alice.send(room, "once", txn_id="txn 1/ü") == first
    assert alice.redact(room, first, txn_id="txn 1/ü") == redaction
    assert len(alice.messages(room, limit=100).ids) == 8


def test_duplicates_at_the_same_time_give_one_event(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    server.restart()
    server.database.hold_writes()
    sends = [put_message(alice, room, "txn") for _ in range(5)]
    assert not any(send.is_done for send in sends)
    server.database.release()
    assert len({send.answer.json["event_id"] for send in sends}) == 1
    assert alice.messages(room).texts == ["hello"]


def test_a_duplicate_of_one_that_failed_is_sent(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    alice.send(room)
    server.database.hold_writes()
    sends = [put_message(alice, room, "txn") for _ in range(2)]
    server.database.fail_next_write(OSError("disk"))
    server.database.release()
    assert [send.answer.status for send in sends] == [500, 200]
    assert alice.messages(room).texts == ["hello", "hello"]


def test_transaction_ids_belong_to_a_device_a_room_and_a_type(
    server: WholeServer, alice: Person, bob: Person
) -> None:
    room, other = alice.create_room(members=[bob]), alice.create_room()
    phone = server.log_in("alice")
    events = {
        alice.send(room, "x", txn_id="txn"),
        phone.send(room, "x", txn_id="txn"),
        bob.send(room, "x", txn_id="txn"),
        alice.send(other, "x", txn_id="txn"),
        alice.send(room, "x", type_="org.example", txn_id="txn"),
    }
    assert len(events) == 5


def test_a_redacted_event_is_still_the_answer(alice: Person) -> None:
    room = alice.create_room()
    first = alice.send(room, "once", txn_id="txn")
    alice.redact(room, first)
    assert alice.send(room, "once", txn_id="txn") == first


def test_the_sending_device_gets_its_transaction_id_back(
    server: WholeServer, alice: Person, bob: Person
) -> None:
    room = alice.create_room(members=[bob])
    phone = server.log_in("alice")
    for person in (alice, phone, bob):
        person.sync()
    event_id = alice.send(room, "x", txn_id="txn")
    redaction = alice.redact(room, event_id, txn_id="txn2")
    told = {
        person.device_id: [event["unsigned"].get("transaction_id") for event in person.sync().timeline(room)]
        for person in (alice, phone, bob)
    }
    assert told == {
        alice.device_id: ["txn", "txn2"],
        phone.device_id: [None, None],
        bob.device_id: [None, None],
    }
    assert alice.event(room, redaction)["unsigned"]["transaction_id"] == "txn2"
    assert "transaction_id" not in bob.event(room, redaction)["unsigned"]
    server.restart()
    assert alice.event(room, redaction)["unsigned"]["transaction_id"] == "txn2"


def test_a_failed_request_can_be_repeated(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    bob.send(room, txn_id="txn", refused="M_FORBIDDEN")
    bob.join(room)
    bob.send(room, txn_id="txn")


def test_reacting_twice_with_the_same_is_refused(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room)
    first = bob.react(room, event_id)
    bob.react(room, event_id, refused="M_DUPLICATE_ANNOTATION")
    bob.react(room, event_id, "🎉")
    alice.react(room, event_id)
    bob.redact(room, first)
    bob.react(room, event_id)
